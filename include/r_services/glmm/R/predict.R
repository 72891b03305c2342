#' Score learners from the coefficients of a fit
#'
#' A learner's two effects are the mode of their posterior given the learner's own answers, the coefficients being
#' known: for the learners, answers and weeks of the fit itself these are lme4's conditional modes. Without answers they
#' are 0, the mean learner's.
#'
#' @param coefficients As `fit_glmm()` returns them.
#' @param rows A data.frame of what to score: `learner`, `week`, `topic` and, optionally, `item` and `offset`. A topic
#'   or item that the fit did not have counts as the mean one and is named.
#' @param answers A data.frame of the learners' answers, as `fit_glmm()` takes them; no column where there are none.
#' @return A list: `log_odds` of a right answer, its standard error `se` given the coefficients, and `probability` for
#'   each row; `learners` (learner, intercept, slope: the learner's deviations, their standard errors and correlation,
#'   n_answers); `unknown_topics`, `unknown_items`.
#' @export
predict_glmm <- function(coefficients, rows, answers = data.frame()) {
  if (length(answers)) check_answers(answers)
  variances <- c(coefficients$intercept_variance, coefficients$slope_variance)
  between <- diag(variances) + coefficients$covariance * (1 - diag(2))
  if (det(between) < -1e-12 * max(between)^2) {
    irtcommon::fail("invalid_field", sprintf(
      "covariance: is %.15g; expected one that %.15g and %.15g can have",
      between[1, 2], between[1, 1], between[2, 2]
    ))
  }
  learners <- sort(unique(rows$learner), method = "radix")
  answered <- split(seq_len(nrow(answers)), factor(answers$learner, levels = learners))
  known <- if (nrow(answers)) known_log_odds(coefficients, answers) else numeric()
  effects <- lapply(answered, function(own) {
    learner_effects(answers$week[own], answers$correct[own], answers$answers[own], known[own], between)
  })
  mode <- unname(vapply(effects, function(effect) effect$mode, numeric(2)))
  covariance <- unname(vapply(effects, function(effect) as.vector(effect$covariance), numeric(4)))

  who <- match(rows$learner, learners)
  log_odds <- known_log_odds(coefficients, rows) + mode[1, who] + mode[2, who] * rows$week
  variance <- covariance[1, who] + 2 * covariance[2, who] * rows$week + covariance[4, who] * rows$week^2
  se <- sqrt(covariance[c(1, 4), , drop = FALSE])
  list(
    log_odds = I(log_odds),
    se = I(sqrt(pmax(variance, 0))),
    probability = I(stats::plogis(log_odds)),
    learners = data.frame(
      learner = learners, intercept = mode[1, ], slope = mode[2, ], intercept_se = se[1, ], slope_se = se[2, ],
      n_answers = vapply(answered, function(own) sum(answers$answers[own]), 0), row.names = NULL
    ),
    unknown_topics = I(setdiff(as.character(c(rows$topic, answers$topic)), coefficients$topics)),
    unknown_items = I(setdiff(as.character(c(rows$item, answers$item)), coefficients$items))
  )
}

# Log-odds without the learner's own part.
known_log_odds <- function(coefficients, rows) {
  effect <- function(names, effects, which) {
    value <- effects[match(which, names)]
    ifelse(is.na(value), 0, value)
  }
  log_odds <- coefficients$intercept + coefficients$slope * rows$week +
    effect(coefficients$topics, coefficients$topic_effects, rows$topic)
  if (!is.null(rows$item) && length(coefficients$items)) {
    log_odds <- log_odds + effect(coefficients$items, coefficients$item_effects, rows$item)
  }
  if (is.null(rows$offset)) log_odds else log_odds + rows$offset
}

# Mode and covariance of a learner's intercept and slope by Newton's method on spherical effects: effects = root times
# standard normal ones, so that a variance of 0 needs no inverse. Steps that would lower the log-posterior are halved.
learner_effects <- function(week, correct, answers, known, between) {
  root <- root_of(between)
  design <- cbind(rep(1, length(week)), week) %*% root
  log_posterior <- function(spherical) {
    log_odds <- known + as.vector(design %*% spherical)
    sum(correct * log_odds - answers * log1p_exp(log_odds)) - sum(spherical^2) / 2
  }
  spherical <- c(0, 0)
  value <- log_posterior(spherical)
  repeat {
    p <- stats::plogis(known + as.vector(design %*% spherical))
    precision <- crossprod(design, design * (answers * p * (1 - p))) + diag(2)
    step <- as.vector(solve(precision, crossprod(design, correct - answers * p) - spherical))
    while ((trial <- log_posterior(spherical + step)) < value - 1e-12 * (1 + abs(value))) step <- step / 2
    spherical <- spherical + step
    value <- trial
    if (max(abs(step)) < 1e-10) break
  }
  list(mode = as.vector(root %*% spherical), covariance = root %*% solve(precision, t(root)))
}

# Lower triangular root of a covariance matrix that may be singular.
root_of <- function(covariance) {
  first <- sqrt(covariance[1, 1])
  across <- if (first > 0) covariance[1, 2] / first else 0
  matrix(c(first, across, 0, sqrt(max(covariance[2, 2] - across^2, 0))), 2)
}

log1p_exp <- function(x) ifelse(x > 0, x, 0) + log1p(exp(-abs(x)))
