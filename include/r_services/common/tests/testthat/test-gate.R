settings <- list(token_digest = token_digest("a-token-of-the-tests"), body_bytes = 1000)

request <- function(method = "POST", path = "/line/fit", ...) {
  given <- list(
    REQUEST_METHOD = method, PATH_INFO = path, HTTP_AUTHORIZATION = "Bearer a-token-of-the-tests",
    HTTP_CONTENT_LENGTH = "10", HTTP_CONTENT_TYPE = "application/json; charset=utf-8"
  )
  list2env(utils::modifyList(given, list(...)))
}

refusal <- function(request, draining = FALSE) {
  tryCatch(
    {
      check_headers(request, settings, draining)
      NULL
    },
    irtcommon_refusal = function(refusal) c(refusal$status, refusal$errors[[1]]$code)
  )
}

test_that("a proper request passes", {
  expect_null(refusal(request()))
  expect_null(refusal(request(HTTP_CONTENT_ENCODING = "gzip")))
  expect_null(refusal(request("GET", "/health", HTTP_AUTHORIZATION = NULL)))
})

test_that("each refusal has its status and code", {
  expect_identical(refusal(request(HTTP_AUTHORIZATION = NULL)), c("401", "unauthorized"))
  expect_identical(refusal(request(HTTP_AUTHORIZATION = "Bearer a-token-of-the-testz")), c("401", "unauthorized"))
  expect_identical(refusal(request(HTTP_CONTENT_LENGTH = NULL)), c("411", "length_required"))
  expect_identical(refusal(request(HTTP_CONTENT_LENGTH = "-1")), c("411", "length_required"))
  expect_identical(refusal(request(HTTP_CONTENT_LENGTH = "1001")), c("413", "body_too_large"))
  expect_identical(refusal(request(HTTP_CONTENT_TYPE = "text/plain")), c("415", "unsupported_media_type"))
  expect_identical(refusal(request(HTTP_CONTENT_ENCODING = "br")), c("415", "unsupported_media_type"))
  expect_identical(refusal(request(), draining = TRUE), c("503", "draining"))
})

test_that("digests are compared over all bytes", {
  digest <- token_digest("one")
  expect_true(same_digest(digest, token_digest("one")))
  for (at in seq_along(digest)) {
    other <- digest
    other[at] <- xor(other[at], as.raw(128))
    expect_false(same_digest(digest, other))
  }
})
