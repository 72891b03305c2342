mean_of <- endpoint("POST", "/mean/fit", function(input, progress) {
  progress(0.5, "half of it")
  if (length(input$x) < 2) fail("not_enough_data", "one value")
  if (any(input$x < 0)) warning("negative values")
  if (any(input$x > 100)) stop("broken")
  list(mean = mean(input$x))
}, list(field("x", "number", list = TRUE)))

test_that("an endpoint is answered in process as over HTTP", {
  answered <- answer(mean_of, '{"x": [1, 2]}')
  expect_identical(answered$status, "success")
  expect_identical(answered$data, list(mean = 1.5, warnings = list()))
})

test_that("warnings are carried in the result", {
  expect_identical(answer(mean_of, '{"x": [-1, 2]}')$data$warnings, "negative values")
})

test_that("failures keep their code, defects are defects, bad input is neither", {
  code <- function(json) answer(mean_of, json)$errors[[1]]$code
  expect_identical(code('{"x": [1]}'), "not_enough_data")
  expect_identical(code('{"x": [1, 101]}'), "defect")
  expect_identical(code('{"x": 1}'), "invalid_field")
  expect_identical(code("{"), "invalid_json")
})

test_that("the OpenAPI page holds every endpoint with its fields", {
  page <- openapi(service("r-mean-plumber", list(mean_of)))
  schema <- page$paths[["/mean/fit"]]$post$requestBody$content[["application/json"]]$schema
  expect_identical(schema$properties$x, list(type = "array", items = list(type = "number"), minItems = 1L))
  expect_setequal(
    names(page$paths),
    c("/mean/fit", "/mean/fit_progress", "/jobs/{job_id}", "/health", "/ready", "/metrics", "/openapi.json")
  )
})
