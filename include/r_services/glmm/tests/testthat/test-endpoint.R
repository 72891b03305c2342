test_that("/glmm/fit answers with coefficients that /glmm/predict takes", {
  rows <- without(cohort(), "item")
  endpoints <- endpoints()
  fitted <- irtcommon::answer(endpoints[[1]], do.call(as_json, c(as.list(rows), level = 0.9)))
  expect_equal(fitted$status, "success")
  expect_equal(fitted$data$fixed$estimate, fit_glmm(rows)$fixed$estimate)
  half <- stats::qnorm(0.95) * fitted$data$fixed$se
  expect_equal(fitted$data$fixed$upper, fitted$data$fixed$estimate + half)
  asked <- c(
    lapply(fitted$data$coefficients, function(value) if (length(value) > 1) value else jsonlite::unbox(value)),
    list(at_learner = "new", at_week = 0, at_topic = "t1")
  )
  scored <- irtcommon::answer(endpoints[[2]], as.character(jsonlite::toJSON(asked, digits = NA)))
  expect_equal(scored$status, "success")
  expect_equal(scored$data$log_odds, fitted$data$coefficients$intercept + fitted$data$topics$effect[[1]])
})

test_that("a wrong field is named", {
  answered <- irtcommon::answer(endpoints()[[1]], as_json(
    learner = c("a", "b"), topic = c("t", "u"), week = c(0, 1), correct = c(1, 0), answers = c(1, 1), item = list(1, 2)
  ))
  expect_equal(answered$status, "failure")
  expect_match(answered$errors[[1]]$detail, "^item: ")
})
