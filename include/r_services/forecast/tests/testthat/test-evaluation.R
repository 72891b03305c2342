forecasts <- function(n = 600, learners = 100, seed = 3) {
  set.seed(seed)
  learner <- sample(learners, n, replace = TRUE)
  logit <- stats::rnorm(learners)[learner] + stats::rnorm(n)
  predicted <- round(stats::plogis(logit), 2)
  list(predicted = pmin(pmax(predicted, 0.01), 0.99), absent = stats::runif(n) < predicted, learner = learner)
}

test_that("AUC counts pairs, ties half, and has concordance's clustered error", {
  f <- forecasts()
  pairs <- outer(f$predicted[f$absent], f$predicted[!f$absent], function(a, b) (a > b) + 0.5 * (a == b))
  found <- auc(f$predicted, f$absent, f$learner)
  expect_equal(found$estimate, mean(pairs))
  direct <- survival::concordance(as.integer(f$absent) ~ f$predicted, cluster = f$learner)
  expect_equal(found$estimate, unname(direct$concordance))
  expect_equal(sqrt(sum(found$influence^2)), unname(sqrt(direct$var)), tolerance = 1e-8)
  expect_equal(auc(c(0.1, 0.9), c(FALSE, TRUE), 1:2)$estimate, 1)
})

test_that("intervals of AUC, Brier score and slope are those of a bootstrap of learners", {
  f <- forecasts()
  rows <- split(seq_along(f$learner), f$learner)
  set.seed(4)
  again <- replicate(400, {
    drawn <- sample(length(rows), replace = TRUE)
    i <- unlist(rows[drawn])
    vapply(
      list(auc, brier, calibration_slope),
      function(measure) measure(f$predicted[i], f$absent[i], f$learner[i])$estimate, numeric(1)
    )
  })
  analytic <- vapply(
    list(auc, brier, calibration_slope),
    function(measure) sqrt(sum(measure(f$predicted, f$absent, f$learner)$influence^2)), numeric(1)
  )
  expect_equal(analytic / apply(again, 1, stats::sd), c(1, 1, 1), tolerance = 0.12)
})

test_that("the calibration slope is that of a logistic regression", {
  f <- forecasts()
  direct <- stats::glm(f$absent ~ stats::qlogis(f$predicted), family = stats::binomial())
  expect_equal(calibration_slope(f$predicted, f$absent, f$learner)$estimate, unname(stats::coef(direct)[2]))
  extreme <- stats::plogis(2 * stats::qlogis(f$predicted))
  expect_equal(calibration_slope(extreme, f$absent, f$learner)$estimate, unname(stats::coef(direct)[2]) / 2)
})

test_that("calibration groups have Wilson's interval and hold every row", {
  f <- forecasts()
  groups <- calibration_groups(f$predicted, f$absent)
  expect_equal(sum(groups$n), 600)
  expect_false(is.unsorted(groups$predicted))
  first <- groups[2, ]
  direct <- stats::prop.test(first$observed * first$n, first$n, correct = FALSE)$conf.int
  expect_equal(c(first$lower, first$upper), as.numeric(direct))
  expect_equal(sum(groups$observed * groups$n), sum(f$absent))
})

test_that("held-out landmarks are later than all that was learnt from, and followed to their horizon", {
  expect_equal(held_out_landmarks(-7 * (1:12), 14), c(-35, -28, -21, -14))
  expect_equal(held_out_landmarks(c(-7, -14), 14), -14)
  rows <- simulate_landmarks(300)
  found <- evaluate(rows, 14, 1)
  expect_equal(found$n_test, 300 * 4)
  expect_equal(found$n_train, 300 * 7)
  later <- rows
  late <- later$landmark < -35 & later$event == 1 & later$time > -later$landmark - 35
  later$time[late] <- -later$landmark[late]
  later$event[late] <- 0L
  again <- evaluate(later, 14, 1)
  expect_equal(again[c("auc", "brier", "mean_predicted")], found[c("auc", "brier", "mean_predicted")])
})

test_that("an evaluation that has nothing to tell apart says so", {
  rows <- simulate_landmarks(100)
  rows$event[rows$landmark >= -35] <- 1L
  rows$time[rows$landmark >= -35] <- 1
  found <- evaluate(rows, 14, 1)
  expect_match(found$reason, "400 returns and 0 absences on later landmarks")
  expect_null(found$auc)
})

test_that("rivals are judged on the same rows", {
  rows <- simulate_landmarks(400)
  found <- evaluate(rows, 14, 1)
  test <- rows[rows$landmark >= -35 & rows$landmark <= -14, ]
  absent <- outcome_at(test, 14)
  rule <- as.numeric(test$days_since_last >= 7)
  expect_equal(found$compared$inactive_7_days$brier, mean((rule - absent)^2))
  expect_equal(found$compared$days_since_last$auc, auc(test$days_since_last, absent, test$learner)$estimate)
  difference <- found$compared$days_since_last
  expect_equal(difference$brier_difference, found$brier - difference$brier)
  expect_lt(difference$brier_difference_lower, difference$brier_difference)
})
