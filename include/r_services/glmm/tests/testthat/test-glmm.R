# lme4 itself, on weeks in tens: another of its optimisers, which ends within about 1e-6 of the maximum, and from there
# a Newton step by the derivatives that lme4 keeps.
direct <- function(formula, rows) {
  rows$week <- rows$week / 10
  fit_by <- function(optimizer, start = NULL) {
    control <- lme4::glmerControl(optimizer, nAGQ0initStep = FALSE, tolPwrss = 1e-13)
    lme4::glmer(formula, as_design(rows), stats::binomial, control = control, start = start)
  }
  fit <- fit_by("bobyqa")
  step <- -solve(fit@optinfo$derivs$Hessian, fit@optinfo$derivs$gradient)
  stay <- function(fn, par, lower, upper, control, ...) list(par = par, fval = fn(par), feval = 1, conv = 0)
  theta <- unname(lme4::getME(fit, "theta"))
  random <- seq_along(theta)
  fit_by(stay, list(theta = theta + step[random], fixef = lme4::fixef(fit) + step[-random]))
}

formulas <- list(
  offset = cbind(correct, answers - correct) ~ week + (week | learner) + (1 | topic) + (1 | item),
  item = cbind(correct, answers - correct) ~ week + (week | learner) + (1 | topic) + offset(offset)
)

expect_close <- function(found, expected, error) expect_lt(max(abs(found - unname(expected))), error)

test_that("estimates are glmer's own, with items random or as offset", {
  rows <- cohort(3)
  for (absent in names(formulas)) {
    found <- fit_glmm(without(rows, absent))
    fit <- direct(formulas[[absent]], without(rows, absent))
    variances <- as.data.frame(lme4::VarCorr(fit))
    expect_close(found$fixed$estimate, lme4::fixef(fit) / c(1, 10), 1e-6)
    # lme4 has them from second differences of the deviance, which leave four digits.
    expect_equal(found$fixed$se, unname(summary(fit)$coefficients[, 2]) / c(1, 10), tolerance = 2e-4)
    sds <- variances$sdcor[is.na(variances$var2)]
    expect_close(found$random$sd, ifelse(variances$var1[is.na(variances$var2)] == "week", sds / 10, sds), 1e-6)
    correlation <- variances$sdcor[!is.na(variances$var2)]
    expect_close(found$random$correlation[found$random$term == "week"], correlation, 1e-6)
    expect_close(found$log_likelihood, as.numeric(stats::logLik(fit)), 1e-6)
    expect_close(found$aic, stats::AIC(fit), 2e-6)
    expect_close(found$topics$effect, lme4::ranef(fit)$topic[[1]], 1e-6)
    expect_equal(sum(found$topics$n), sum(rows$answers))
  }
})

test_that("no end of glmer as it is called by default has a higher likelihood", {
  rows <- cohort(3)
  for (absent in names(formulas)) {
    found <- fit_glmm(without(rows, absent))
    scaled <- as_design(transform(without(rows, absent), week = week / 10))
    default <- suppressWarnings(lme4::glmer(formulas[[absent]], scaled, stats::binomial))
    # Its own likelihood has an error of its inner tolerance, so its end is looked at with a tight one.
    tight <- lme4::glmerControl(nAGQ0initStep = FALSE, tolPwrss = 1e-13)
    deviance <- lme4::glmer(formulas[[absent]], scaled, stats::binomial, control = tight, devFunOnly = TRUE)
    end <- c(lme4::getME(default, "theta"), lme4::fixef(default))
    expect_gt(found$log_likelihood, -deviance(end) / 2 - 1e-6)
    expect_lt(abs(found$log_likelihood - as.numeric(stats::logLik(default))), 0.01)
    expect_close(found$fixed$estimate / found$fixed$se, lme4::fixef(default) / c(1, 10) / found$fixed$se, 0.01)
  }
})

test_that("an unconverged or singular fit says so", {
  rows <- without(cohort(), "item")
  fit <- direct(formulas$item, rows)
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
  fit <- direct(formulas$offset, without(rows, "offset"))
  coefficients <- fit_glmm(without(rows, "offset"))$coefficients
  scored <- predict_glmm(coefficients, rows[c("learner", "week", "topic", "item")],
    answers = without(rows, "offset")
  )
  expect_close(scored$log_odds, stats::predict(fit), 1e-6)
  modes <- lme4::ranef(fit)$learner
  expect_close(scored$learners$slope, modes[scored$learners$learner, "week"] / 10, 1e-6)
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
