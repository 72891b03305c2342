mondays <- function(n, from = "2025-01-06") format(as.Date(from) + 7 * (seq_len(n) - 1))

line_series <- function(n = 26, seed = 5, sd = 0.05) {
  set.seed(seed)
  0.3 + 0.01 * seq_len(n) + rnorm(n, 0, sd)
}

fit_one <- function(value, ...) fit_prophet(rep("cohort", length(value)), mondays(length(value)), value, ...)

prophet_directly <- function(value, ahead = 4, without = integer()) {
  weeks <- as.POSIXct(mondays(length(value) + ahead), tz = "UTC")
  used <- setdiff(seq_along(value), without)
  center <- mean(value[used])
  spread <- sd(value[used])
  model <- suppressMessages(prophet::prophet(
    data.frame(ds = weeks[used], y = (value[used] - center) / spread),
    n.changepoints = 5, yearly.seasonality = FALSE, weekly.seasonality = FALSE, daily.seasonality = FALSE,
    uncertainty.samples = 0
  ))
  center + spread * tail(predict(model, data.frame(ds = weeks))$yhat, ahead)
}

test_that("forecasts are Prophet's own", {
  value <- line_series()
  fitted <- fit_one(value)
  expect_equal(fitted$series$n_withheld, 0)
  expect_equal(fitted$forecast$forecast, prophet_directly(value), tolerance = 1e-8)
  expect_equal(fitted$forecast$week, tail(mondays(30), 4))
  expect_equal(fitted$history$expected[20], prophet_directly(value[1:19], 1), tolerance = 1e-8)
})

test_that("a single week that is off is withheld from later fits", {
  value <- line_series()
  value[20] <- value[20] - 0.5
  fitted <- fit_one(value)
  expect_equal(fitted$series$n_withheld, 1)
  expect_equal(fitted$forecast$forecast, prophet_directly(value, without = 20), tolerance = 1e-8)
})

test_that("the same series gives the same bits", {
  value <- line_series()
  expect_identical(fit_one(value), fit_one(value))
})

test_that("another origin or unit of theta moves forecasts and changes no verdict", {
  value <- line_series()
  value[18] <- value[18] + 0.3
  fitted <- fit_one(value)
  moved <- fit_one(1.7 * value - 3)
  expect_equal(moved$history$z, fitted$history$z, tolerance = 1e-6)
  expect_equal(moved$forecast$upper, 1.7 * fitted$forecast$upper - 3, tolerance = 1e-6)
  expect_identical(moved$history$anomaly, fitted$history$anomaly)
})

test_that("a week is judged by a fit that does not know it", {
  value <- line_series()
  expected <- fit_one(value)$history$expected[26]
  value[26] <- value[26] + 5
  expect_identical(fit_one(value)$history$expected[26], expected)
  # Two weeks off in a row are read by the fits after them, and by none before.
  value <- line_series()
  value[25] <- value[25] + 0.3
  alone <- fit_one(value)$history
  value[26] <- value[26] + 0.3
  beside <- fit_one(value)$history
  expect_true(all(alone$anomaly[25], beside$anomaly[25:26]))
  expect_identical(beside$expected[26], alone$expected[26])
})

test_that("an anomaly is found, and inflates neither intervals nor later verdicts", {
  value <- line_series(seed = 5)
  clean <- fit_one(value)
  expect_false(any(clean$history$anomaly))
  value[16] <- value[16] + 1
  spoilt <- fit_one(value)
  expect_identical(which(spoilt$history$anomaly), 16L)
  width <- function(fitted) fitted$forecast$upper - fitted$forecast$lower
  expect_lt(max(width(spoilt) / width(clean)), 1.25)
  expect_lt(max(abs(spoilt$forecast$forecast - clean$forecast$forecast)), 0.05)
  expect_lt(max(spoilt$history$sd[-16] / clean$history$sd[-16], na.rm = TRUE), 1.25)
})

test_that("a new level is an anomaly at first and the normal state later", {
  value <- line_series(n = 40, seed = 2)
  value[25:40] <- value[25:40] + 0.4
  fitted <- fit_one(value)
  expect_true(fitted$history$anomaly[25])
  expect_false(any(fitted$history$anomaly[32:40]))
  expect_lt(abs(fitted$forecast$forecast[1] - (0.3 + 0.01 * 41 + 0.4)), 0.15)
})

test_that("weeks may be missing, and forecasts begin after the last week known", {
  value <- line_series(n = 30)
  some <- setdiff(1:28, c(12, 13, 20))
  fitted <- fit_prophet(rep("cohort", 25), mondays(30)[some], value[some], last_week = mondays(30)[30])
  expect_equal(fitted$forecast$week, mondays(34)[31:34])
  expect_equal(fitted$series$n_weeks, 25)
  every_second <- seq(1, 39, by = 2)
  fitted <- fit_prophet(rep("cohort", 20), mondays(40)[every_second], line_series(40)[every_second])
  expect_equal(fitted$calibration$n[c(1, 3)], c(0, 0))
  expect_true(all(is.finite(fitted$forecast$upper)))
})

test_that("the session's time zone changes nothing", {
  value <- line_series()
  before <- Sys.getenv("TZ", unset = NA)
  on.exit(if (is.na(before)) Sys.unsetenv("TZ") else Sys.setenv(TZ = before))
  Sys.setenv(TZ = "UTC")
  in_utc <- fit_one(value)
  Sys.setenv(TZ = "America/New_York")
  expect_identical(fit_one(value), in_utc)
  expect_identical(Sys.getenv("TZ"), "America/New_York")
})

test_that("a week of few learners may be further off", {
  value <- line_series(seed = 5)
  value[20] <- value[20] + 0.3
  se <- rep(0.02, 26)
  sure <- fit_one(value, se = se)
  expect_true(sure$history$anomaly[20])
  se[20] <- 0.2
  unsure <- fit_one(value, se = se)
  expect_false(unsure$history$anomaly[20])
  expect_gt(unsure$history$sd[20], 3 * sure$history$sd[20])
  expect_identical(fit_one(value, se = rep(0.02, 26))$history$z, fit_one(value, se = rep(0.01, 26))$history$z)
})

test_that("the scale of the noise is the normal's, and a fifth of wild values moves it little", {
  set.seed(1)
  noise <- rnorm(20000, 0, 3)
  expect_equal(robust_scale(noise, 0), 3, tolerance = 0.02)
  wild <- c(noise[1:800], rep(100, 200))
  expect_equal(robust_scale(wild, 0), sd(noise[1:800]), tolerance = 0.02)
})

test_that("intervals hold the share asked for where residuals are exchangeable", {
  set.seed(1)
  held <- replicate(4000, {
    size <- abs(rnorm(13))
    size[13] <= conformal_quantile(size[1:12], 0.8)
  })
  expect_equal(mean(held), 0.8, tolerance = 0.025)
})

test_that("series too short or constant are named, the others forecast", {
  value <- line_series()
  name <- c(rep("long", 26), rep("short", 15), rep("flat", 20))
  week <- c(mondays(26), mondays(15), mondays(20))
  fitted <- fit_prophet(name, week, c(value, value[1:15], rep(0.2, 20)))
  expect_equal(fitted$series$reason, c(NA, "15 weeks; a forecast needs 16", "constant: 0.2 in each of 20 weeks"))
  expect_equal(unique(fitted$forecast$series), "long")
})

test_that("what cannot be forecast ends with its reason", {
  failure <- function(...) tryCatch(fit_prophet(...), error = identity)
  short <- failure(rep("cohort", 6), mondays(6), line_series(6))
  expect_equal(short$code, "not_enough_data")
  expect_match(conditionMessage(short), "cohort: 6 weeks; a forecast needs 16")
  for (week in c("2025-01-07", "2025-02-30", "06.01.2025", "2025-1-6")) {
    wrong <- failure("cohort", week, 1)
    expect_equal(wrong$code, "invalid_field")
    expect_match(conditionMessage(wrong), week, fixed = TRUE)
  }
  twice <- failure(c("cohort", "cohort"), mondays(1)[c(1, 1)], c(1, 2))
  expect_match(conditionMessage(twice), "2025-01-06 is given twice for series cohort")
  late <- failure(rep("cohort", 20), mondays(20), line_series(20), last_week = mondays(19)[19])
  expect_match(conditionMessage(late), "is after last_week")
})
