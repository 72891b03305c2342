weekly <- function(...) {
  set.seed(1)
  body <- list(
    series = rep("cohort", 20), week = format(as.Date("2025-01-06") + 7 * (0:19)), value = round(rnorm(20, 0.4, 0.1), 3)
  )
  jsonlite::toJSON(utils::modifyList(body, list(...)), auto_unbox = TRUE)
}

ask <- function(body) irtcommon::answer(prophet_endpoint(), body)

test_that("an answer has columns of equal length, and null where nothing is known", {
  answered <- ask(weekly())
  expect_equal(answered$status, "success")
  expect_setequal(
    names(answered$data), c("series", "calibration", "forecast", "history", "engine_versions", "warnings")
  )
  expect_equal(lengths(answered$data$history, use.names = FALSE), rep(20, 7))
  expect_equal(sum(is.na(answered$data$history$z)), 12)
  expect_equal(answered$data$forecast$horizon, 1:4)
  expect_equal(answered$data$engine_versions$prophet, as.character(packageVersion("prophet")))
})

test_that("horizon, level and threshold are the ones asked for", {
  usual <- ask(weekly())$data
  other <- ask(weekly(horizon = 2, level = 0.6, threshold = 2))$data
  expect_equal(other$forecast$horizon, 1:2)
  width <- function(data) data$forecast$upper[1] - data$forecast$lower[1]
  expect_lt(width(other), width(usual))
  judged <- !is.na(other$history$z)
  expect_equal(other$history$anomaly[judged], abs(unlist(other$history$z[judged])) >= 2)
})

test_that("weeks may be missing: what was not judged is null", {
  every_second <- format(as.Date("2025-01-06") + 14 * (0:19))
  answered <- ask(weekly(week = every_second))
  expect_equal(answered$errors, list())
  expect_equal(answered$data$calibration$n == 0, c(TRUE, FALSE, TRUE, FALSE))
  expect_equal(is.na(answered$data$calibration$coverage), c(TRUE, FALSE, TRUE, FALSE))
  expect_true(is.na(answered$data$series$mae))
  expect_false(is.na(answered$data$series$coverage))
  expect_equal(lengths(answered$data$forecast, use.names = FALSE), rep(4, 6))
  alone <- ask(weekly(week = every_second, horizon = 1))
  expect_equal(alone$errors[[1]]$code, "not_enough_data")
  expect_match(alone$errors[[1]]$detail, "no two weeks lie within 1 of each other")
})

test_that("fields that are wrong are named", {
  problems <- list(
    value = list(value = rep(0.1, 19)), se = list(se = rep(0.1, 3)),
    level = list(level = 2), horizon = list(horizon = 0)
  )
  for (name in names(problems)) {
    answered <- ask(do.call(weekly, problems[[name]]))
    expect_equal(answered$status, "failure")
    said <- vapply(answered$errors, function(error) error$detail, "")
    expect_match(said, name, all = FALSE)
  }
})
