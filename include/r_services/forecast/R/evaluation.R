# How good forecasts of absence are on landmarks after those they were learnt from. Every interval comes from the
# influences of learners on the estimate, so that the rows of one learner do not count as independent.

#' Landmarks that are held out: the last third of those followed for the whole horizon
#' @noRd
held_out_landmarks <- function(landmarks, horizon) {
  followed <- sort(unique(landmarks[landmarks <= -horizon]))
  utils::tail(followed, ceiling(length(followed) / 3))
}

#' The model as it stood at the end of the first held-out landmark's day, judged on the held-out landmarks
#' @noRd
evaluate <- function(rows, horizon, ridge) {
  held_out <- held_out_landmarks(rows$landmark, horizon)
  test <- rows[rows$landmark %in% held_out, ]
  train <- cut_off(rows, min(held_out, Inf))
  absent <- outcome_at(test, horizon)
  before <- outcome_at(train, horizon)
  sizes <- list(
    landmarks = I(held_out),
    n_train = nrow(train),
    n_train_events = sum(train$event),
    n_test = nrow(test),
    n_test_events = sum(absent)
  )
  counts <- c(sum(!absent), sum(absent))
  counts_before <- c(sum(!before, na.rm = TRUE), sum(before, na.rm = TRUE))
  if (min(counts) < min_test_outcomes || min(counts_before) < min_outcomes) {
    return(c(sizes, reason = sprintf(
      "%d returns and %d absences on later landmarks, %d and %d before them; an evaluation needs %d and %d of each",
      counts[1], counts[2], counts_before[1], counts_before[2], min_test_outcomes, min_outcomes
    )))
  }
  predicted <- predict_risk(fit_cox(train, choose_design(train), horizon, ridge), test)$estimate
  rivals <- rival_forecasts(train, test, before, horizon, ridge)
  c(
    sizes,
    flatten("auc", auc(predicted, absent, test$learner)),
    flatten("brier", brier(predicted, absent, test$learner)),
    flatten("calibration_slope", calibration_slope(predicted, absent, test$learner)),
    list(
      mean_predicted = mean(predicted),
      mean_observed = mean(absent),
      calibration = calibration_groups(predicted, absent),
      compared = lapply(rivals, compare, own = predicted, absent = absent, learner = test$learner)
    )
  )
}

#' Forecasts that the model must beat: days since the last answer alone, and who was away for a week
#'
#' The first is the same model without the other covariates. The rule calls learners absent who were away for seven
#' days; `inactive_7_days_rate` forecasts, instead of 0 and 1, each side's share of absences before the held-out
#' landmarks.
#' @noRd
rival_forecasts <- function(train, test, before, horizon, ridge) {
  away <- function(rows) rows$days_since_last >= 7
  share <- tapply(before, factor(away(train), c(FALSE, TRUE)), mean, na.rm = TRUE)
  share[is.na(share)] <- mean(before, na.rm = TRUE)
  rule <- list(inactive_7_days = as.numeric(away(test)), inactive_7_days_rate = unname(share[1 + away(test)]))
  if (!is.null(unusable("days_since_last", train$days_since_last))) return(rule)
  alone <- fit_cox(train, choose_design(train, "days_since_last"), horizon, ridge)
  c(list(days_since_last = predict_risk(alone, test)$estimate), rule)
}

#' A rival's AUC and Brier score, and how far the model's own lie from them
#' @noRd
compare <- function(rival, own, absent, learner) {
  difference <- function(measure) {
    ours <- measure(own, absent, learner)
    theirs <- measure(rival, absent, learner)
    interval(ours$estimate - theirs$estimate, ours$influence - theirs$influence)
  }
  c(
    flatten("auc", auc(rival, absent, learner)),
    flatten("brier", brier(rival, absent, learner)),
    flatten("auc_difference", difference(auc)),
    flatten("brier_difference", difference(brier))
  )
}

#' Area under the ROC curve; a learner's influence is the sum of placements (Obuchowski, 1997)
#' @noRd
auc <- function(predicted, absent, learner) {
  among_all <- rank(predicted)
  placement <- numeric(length(predicted))
  placement[absent] <- (among_all[absent] - rank(predicted[absent])) / sum(!absent)
  placement[!absent] <- 1 - (among_all[!absent] - rank(predicted[!absent])) / sum(absent)
  estimate <- mean(placement[absent])
  influence <- (placement - estimate) / ifelse(absent, sum(absent), sum(!absent))
  logit <- list(to = stats::qlogis, from = stats::plogis, derivative = function(p) 1 / (p * (1 - p)))
  interval(estimate, by_learner(influence, learner), if (estimate > 0 && estimate < 1) logit else plain_scale)
}

#' Mean squared error of the forecasts (Brier, 1950)
#' @noRd
brier <- function(predicted, absent, learner) {
  loss <- (predicted - absent)^2
  interval(mean(loss), by_learner((loss - mean(loss)) / length(loss), learner))
}

#' Slope of the outcome on the forecast's logit (Cox, 1958): 1 is right, below 1 the forecasts are too extreme
#' @noRd
calibration_slope <- function(predicted, absent, learner) {
  logit <- stats::qlogis(pmin(pmax(predicted, 1e-9), 1 - 1e-9))
  fit <- stats::glm(absent ~ logit, family = stats::binomial())
  score <- (absent - stats::fitted(fit)) * cbind(1, logit)
  interval(unname(stats::coef(fit)[2]), by_learner(drop(score %*% stats::vcov(fit)[, 2]), learner))
}

by_learner <- function(influence, learner) rowsum(influence, learner)[, 1]

plain_scale <- list(to = identity, from = identity, derivative = function(x) 1)

#' Estimate and 95 % interval from the influences of independent learners, normal on the scale given
#' @noRd
interval <- function(estimate, influence, scale = plain_scale) {
  width <- z95 * sqrt(sum(influence^2)) * scale$derivative(estimate)
  list(
    estimate = estimate,
    lower = scale$from(scale$to(estimate) - width),
    upper = scale$from(scale$to(estimate) + width),
    influence = influence
  )
}

flatten <- function(name, value) {
  stats::setNames(value[c("estimate", "lower", "upper")], paste0(name, c("", "_lower", "_upper")))
}

#' Mean forecast and observed share of absences in groups of like forecasts, with the interval of Wilson (1927)
#' @noRd
calibration_groups <- function(predicted, absent) {
  groups <- max(1, min(10, length(predicted) %/% 20))
  group <- ceiling(rank(predicted, ties.method = "first") * groups / length(predicted))
  n <- tabulate(group, groups)
  observed <- as.numeric(tapply(absent, group, mean))
  center <- (observed + z95^2 / (2 * n)) / (1 + z95^2 / n)
  half <- z95 * sqrt(observed * (1 - observed) / n + z95^2 / (4 * n^2)) / (1 + z95^2 / n)
  data.frame(
    predicted = as.numeric(tapply(predicted, group, mean)),
    observed = observed,
    lower = pmax(0, center - half),
    upper = pmin(1, center + half),
    n = n
  )
}
