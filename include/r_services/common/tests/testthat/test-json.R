test_that("a double survives writing and reading", {
  set.seed(20260131)
  doubles <- c(0.1 + 0.2, 1 / 3, pi * 1e10, -1e-300, .Machine$double.xmin, .Machine$double.xmax, rnorm(1000))
  expect_identical(unlist(read_json(write_json(doubles))), doubles)
})

test_that("scalars, columns and missing values have one form each", {
  expect_identical(write_json(1), "1")
  expect_identical(write_json(I(1)), "[1]")
  expect_identical(write_json(data.frame(x = 1)), '{"x":[1]}')
  expect_identical(write_json(list(a = NA, b = NULL, c = list())), '{"a":null,"b":null,"c":[]}')
  expect_identical(write_json(character()), "[]")
  expect_identical(write_json(c(TRUE, NA)), "[true,null]")
  expect_identical(write_json(factor("a")), '"a"')
})

test_that("what JSON cannot say is an error that names its place", {
  expect_error(write_json(list(aic = Inf)), "result$aic[1] is Inf", fixed = TRUE)
  expect_error(write_json(list(se = c(1, NaN))), "result$se[2] is NaN", fixed = TRUE)
  expect_error(write_json(list(fit = mean)), "result$fit is a closure", fixed = TRUE)
  expect_error(write_json(list(m = diag(2))), "matrix")
})

test_that("texts are escaped as jsonlite reads them", {
  texts <- c("plain", "quo\"te", "back\\slash", "tab\t", "\u0001", "\u00e9\ud55c", "")
  expect_identical(jsonlite::fromJSON(write_json(texts)), texts)
})

test_that("a comment is no JSON, a text that looks like one is", {
  expect_error(read_json('{"a": 1 /* one */}'), class = "irtcommon_refusal")
  expect_error(read_json('{"a": "\\"" // one\n}'), class = "irtcommon_refusal")
  expect_identical(read_json('{"a": "/* \\" // */"}'), list(a = "/* \" // */"))
})
