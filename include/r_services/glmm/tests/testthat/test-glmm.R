# lme4 itself, on weeks in tens.
direct <- function(formula, rows) {
  rows$week <- rows$week / 10
  control <- lme4::glmerControl(optimizer = "nloptwrap", tolPwrss = 1e-10)
  suppressWarnings(suppressMessages(lme4::glmer(formula, as_design(rows), stats::binomial, control = control)))
}

test_that("estimates are glmer's own, with items random or as offset", {
  rows <- cohort()
  formulas <- list(
    offset = cbind(correct, answers - correct) ~ week + (week | learner) + (1 | topic) + (1 | item),
    item = cbind(correct, answers - correct) ~ week + (week | learner) + (1 | topic) + offset(offset)
  )
  for (absent in names(formulas)) {
    found <- fit_glmm(without(rows, absent))
    fit <- direct(formulas[[absent]], without(rows, absent))
    expect_equal(found$fixed$estimate, unname(lme4::fixef(fit)) / c(1, 10), tolerance = 1e-8)
    expect_equal(found$fixed$se, unname(summary(fit)$coefficients[, 2]) / c(1, 10), tolerance = 1e-8)
    expect_equal(found$log_likelihood, as.numeric(stats::logLik(fit)), tolerance = 1e-10)
    expect_equal(found$aic, stats::AIC(fit))
    expect_equal(found$topics$effect, lme4::ranef(fit)$topic[[1]], tolerance = 1e-8)
    expect_equal(sum(found$topics$n), sum(rows$answers))
  }
})

test_that("an unconverged or singular fit says so", {
  rows <- without(cohort(), "item")
  fit <- direct(cbind(correct, answers - correct) ~ week + (week | learner) + (1 | topic) + offset(offset), rows)
  fit@optinfo$conv$lme4$messages <- "Model failed to converge with max|grad| = 0.05 (tol = 0.002, component 1)"
  described <- describe_fit(fit, as_design(rows), y ~ x, character(), 0.95)
  expect_false(described$converged)
  expect_match(described$messages, "max|grad|", fixed = TRUE)

  rows$topic <- c("a", "b")
  rows$correct <- rep(0:2, length.out = nrow(rows))
  expect_true(fit_glmm(rows)$singular)
})

test_that("scores of the fit's own learners are lme4's predictions", {
  rows <- cohort(2)
  formula <- cbind(correct, answers - correct) ~ week + (week | learner) + (1 | topic) + (1 | item)
  fit <- direct(formula, without(rows, "offset"))
  coefficients <- suppressWarnings(fit_glmm(without(rows, "offset")))$coefficients
  scored <- predict_glmm(coefficients, rows[c("learner", "week", "topic", "item")],
    answers = without(rows, "offset")
  )
  expect_equal(scored$log_odds, I(unname(stats::predict(fit))), tolerance = 1e-6)
  modes <- lme4::ranef(fit)$learner
  expect_equal(scored$learners$slope, modes[scored$learners$learner, "week"] / 10, tolerance = 1e-5)
})

test_that("learners without answers are the mean learner, and singular coefficients have scores too", {
  coefficients <- list(
    intercept = 0.2, slope = 0.1, intercept_variance = 0.8, slope_variance = 0, covariance = 0,
    topics = "a", topic_effects = 0.5
  )
  rows <- data.frame(learner = c("x", "x"), week = c(0, 3), topic = c("a", "b"))
  scored <- predict_glmm(coefficients, rows)
  expect_equal(scored$log_odds, I(c(0.7, 0.5)))
  expect_equal(scored$se, I(sqrt(c(0.8, 0.8))))
  expect_equal(scored$unknown_topics, I("b"))
  coefficients$covariance <- 0.5
  expect_error(predict_glmm(coefficients, rows), "covariance", class = "irtcommon_failure")
})

test_that("a learner's effects are the mode of the posterior and its curvature", {
  between <- matrix(c(0.9, 0.05, 0.05, 0.04), 2)
  week <- c(-3, -2, -1, 0)
  correct <- c(0, 1, 2, 2)
  known <- c(0.1, -0.4, 0.3, 0)
  log_posterior <- function(effects) {
    p <- stats::plogis(known + effects[[1]] + effects[[2]] * week)
    sum(stats::dbinom(correct, 2, p, log = TRUE)) - sum(effects * solve(between, effects)) / 2
  }
  found <- learner_effects(week, correct, rep(2, 4), known, between)
  numeric <- stats::optim(c(0, 0), log_posterior, control = list(fnscale = -1, reltol = 1e-15), hessian = TRUE)
  expect_equal(found$mode, numeric$par, tolerance = 1e-4)
  expect_equal(found$covariance, -solve(numeric$hessian), tolerance = 1e-3)
})

test_that("data that cannot carry the model is refused with its numbers", {
  rows <- without(cohort(), "item", "offset")
  failure <- function(rows) tryCatch(fit_glmm(rows), irtcommon_failure = function(failure) failure)
  expect_equal(failure(transform(rows, topic = "one"))$code, "not_enough_data")
  expect_match(conditionMessage(failure(transform(rows, week = 0))), "1 weeks")
  expect_match(conditionMessage(failure(transform(rows, correct = 2L))), "480 answers are right|2880 answers are right")
  expect_match(conditionMessage(failure(transform(rows, correct = 3L))), "element 1 is 3")
  expect_match(conditionMessage(failure(rows[!duplicated(rows$learner), ])), "weeks|rows")
})
