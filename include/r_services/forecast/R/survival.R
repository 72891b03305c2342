# Days from a weekly landmark to a learner's next activity: a ridge-penalised Cox model whose errors, and those of its
# probabilities, allow for the several landmarks of a learner.

# What becomes of a covariate before it is centred and scaled.
covariate_transforms <- list(
  sessions = log1p,
  mean_gap = log1p,
  days_since_last = log1p,
  answers = log1p,
  r_t = identity
)

# Ten days away mean little in a learner who comes every other week and much in one who came daily.
covariate_products <- list(c("days_since_last", "sessions"), c("days_since_last", "mean_gap"))

# A covariate known in a smaller share of the rows is left out.
min_known_share <- 0.2

# Landmark rows with and without activity within the horizon that a fit needs of each, and an evaluation.
min_outcomes <- 50
min_test_outcomes <- 20

z95 <- stats::qnorm(0.975)

#' Fit, evaluate and apply the model of the time to the next activity
#'
#' Landmarking as in van Houwelingen (2007): a row is a learner at a landmark, and time runs from the landmark.
#'
#' @param rows A data.frame, a row a learner and landmark: `learner` (an id), `landmark` (days from as_of, below 0),
#'   `time` (days from the end of the landmark's day to the next activity or to the end of as_of), `event` (1: activity,
#'   0: none up to as_of), and the covariates `sessions`, `mean_gap`, `days_since_last`, `answers`, `r_t` (`NA`: not
#'   known).
#' @param scored A data.frame of the covariates at as_of, a row a learner whose probability is asked for.
#' @param horizon Days.
#' @param ridge Penalty on half the sum of squared coefficients of the standardised covariates: the precision of a
#'   normal prior with mean 0.
#' @param progress `function(fraction, note)`.
#' @return A list: sizes, `covariates`, `dropped`, `baseline`, `evaluation`, and for each row of `scored` the `risk` of
#'   no activity within the horizon with the ends of its 95 % interval.
#' @export
fit_survival <- function(rows, scored, horizon = 14, ridge = 1, progress = function(fraction, note) invisible()) {
  check_follow_up(rows)
  check_outcomes(rows, horizon)
  progress(0.1, "fit")
  model <- fit_cox(rows, choose_design(rows), horizon, ridge)
  progress(0.5, "evaluation on later landmarks")
  evaluation <- evaluate(rows, horizon, ridge)
  progress(0.9, "learners scored")
  risk <- predict_risk(model, scored)
  list(
    n_learners = length(unique(rows$learner)),
    n_landmarks = length(unique(rows$landmark)),
    n_rows = nrow(rows),
    n_events = sum(rows$event),
    horizon_days = horizon,
    ridge = ridge,
    covariates = describe_coefficients(model),
    dropped = model$design$dropped,
    baseline = list(cumulative_hazard = model$cumulative_hazard, se_log = sqrt(model$variance[1, 1])),
    evaluation = evaluation,
    risk = I(risk$estimate),
    risk_lower = I(risk$lower),
    risk_upper = I(risk$upper),
    engine_versions = list(R = format(getRversion()), survival = getNamespaceVersion("survival")[[1]])
  )
}

check_follow_up <- function(rows) {
  to_as_of <- -rows$landmark
  wrong <- which(ifelse(rows$event == 1, rows$time > to_as_of, rows$time != to_as_of))
  if (length(wrong) > 0) {
    row <- rows[wrong[1], ]
    stop(sprintf(
      "row %d: landmark %d, event %d, time %g; expected a time of at most %d for activity, of %d without",
      wrong[1], row$landmark, row$event, row$time, -row$landmark, -row$landmark
    ))
  }
}

check_outcomes <- function(rows, horizon) {
  absent <- outcome_at(rows, horizon)
  counts <- c(sum(!absent, na.rm = TRUE), sum(absent, na.rm = TRUE))
  if (min(counts) < min_outcomes) {
    irtcommon::fail("not_enough_data", sprintf(
      "%d rows of learners at landmarks with and %d without activity within %g days; the model needs %d of each",
      counts[1], counts[2], horizon, min_outcomes
    ))
  }
}

#' Whether a row had no activity within the horizon; `NA` where it was not followed so long
#' @noRd
outcome_at <- function(rows, horizon) {
  returned <- rows$event == 1 & rows$time <= horizon
  ifelse(returned | rows$time >= horizon, !returned, NA)
}

#' Rows as they stood at the end of a day: landmarks before it, outcomes known by then
#' @noRd
cut_off <- function(rows, day) {
  rows <- rows[rows$landmark < day, ]
  follow_up <- day - rows$landmark
  rows$event <- as.integer(rows$event == 1 & rows$time <= follow_up)
  rows$time <- pmin(rows$time, follow_up)
  rows
}

#' Terms of the model with their centres and scales, and the covariates left out, with the reason
#'
#' A covariate that some rows lack enters as its mean there, beside an indicator of its absence.
#' @noRd
choose_design <- function(rows, candidates = names(covariate_transforms)) {
  verdicts <- lapply(stats::setNames(candidates, candidates), function(name) unusable(name, rows[[name]]))
  left_out <- Filter(Negate(is.null), verdicts)
  used <- setdiff(candidates, names(left_out))
  if (length(used) == 0) {
    irtcommon::fail("not_enough_data", paste("no covariate can be used:", toString(paste(names(left_out), left_out))))
  }
  partly <- Filter(function(name) anyNA(rows[[name]]), used)
  products <- Filter(function(pair) all(pair %in% used), covariate_products)
  terms <- c(
    lapply(used, function(name) list(name = name, kind = "covariate", source = name)),
    lapply(partly, function(name) list(name = paste0(name, "_unknown"), kind = "indicator", source = name)),
    lapply(products, function(pair) list(name = paste(pair, collapse = ":"), kind = "product", source = pair))
  )
  list(
    terms = lapply(terms, function(term) {
      value <- term_values(term, rows)
      c(term, list(center = mean(value, na.rm = TRUE), scale = stats::sd(value, na.rm = TRUE)))
    }),
    dropped = data.frame(name = as.character(names(left_out)), reason = as.character(unlist(left_out)))
  )
}

# Why a covariate cannot be used; NULL where it can.
unusable <- function(name, value) {
  known <- value[!is.na(value)]
  share <- length(known) / length(value)
  if (length(known) == 0) return("not recorded")
  if (share < min_known_share) {
    return(sprintf("known in %.1f %% of the rows; it needs %g %%", 100 * share, 100 * min_known_share))
  }
  spread <- stats::sd(covariate_transforms[[name]](known))
  if (is.na(spread) || spread < 1e-8) sprintf("constant: %g in every row", known[1])
}

term_values <- function(term, rows) {
  switch(term$kind,
    covariate = covariate_transforms[[term$source]](rows[[term$source]]),
    indicator = as.numeric(is.na(rows[[term$source]])),
    product = Reduce(`*`, lapply(term$source, function(name) covariate_transforms[[name]](rows[[name]])))
  )
}

#' Standardised terms, rows x terms
#' @noRd
standardise <- function(rows, design) {
  columns <- lapply(design$terms, function(term) {
    standard <- (term_values(term, rows) - term$center) / term$scale
    ifelse(is.na(standard), 0, standard)
  })
  matrix(unlist(columns), nrow = nrow(rows))
}

#' The penalised fit and its cumulative baseline hazard at the horizon, with their covariance by learner
#'
#' `variance` is the covariance of (log cumulative baseline hazard, coefficients): the sum over learners of the outer
#' products of their influences. A learner's influence on the coefficients is the score residual times the inverse of
#' the penalised information (Lin and Wei, 1989); on the baseline of Breslow (1974) it is the learner's martingale
#' increments over the sums at risk, less what the influence on the coefficients takes along (Reid and Crepeau, 1985).
#' Sums by learner as in Lee, Wei and Amato (1992). They are taken here because coxph's own, with a cluster term, take
#' a time that grows with rows times distinct times.
#' @noRd
fit_cox <- function(rows, design, horizon, ridge) {
  x <- standardise(rows, design)
  data <- list(time = rows$time, event = rows$event, x = x, theta = ridge)
  fit <- survival::coxph(
    survival::Surv(time, event) ~ ridge(x, theta = theta, scale = FALSE),
    data = data, ties = "breslow"
  )
  beta <- unname(stats::coef(fit))
  path <- hazard_path(x, beta, rows$time, rows$event, horizon)
  on_beta <- rowsum(path$score, rows$learner) %*% fit$var
  on_baseline <- rowsum(path$influence, rows$learner) - on_beta %*% path$slope
  list(
    design = design,
    coefficients = beta,
    cumulative_hazard = path$cumulative_hazard,
    variance = crossprod(cbind(on_baseline / path$cumulative_hazard, on_beta))
  )
}

#' Breslow's cumulative baseline hazard, and each row's part in it and in the coefficients' score
#'
#' @return A list: `cumulative_hazard` at the horizon, minus its gradient by the coefficients (`slope`), the `influence`
#'   of each row on it, the coefficients held fixed, and the `score` residuals, rows x coefficients.
#' @noRd
hazard_path <- function(x, beta, time, event, horizon) {
  weight <- drop(exp(x %*% beta))
  event_times <- sort(unique(time[event == 1]))
  by_time <- order(time)
  first_at_risk <- match(event_times, time[by_time])
  at_risk <- function(values) rev(cumsum(rev(values[by_time])))[first_at_risk]
  total <- at_risk(weight)
  hazard <- tabulate(match(time[event == 1], event_times), length(event_times)) / total
  mean_x <- apply(weight * x, 2, at_risk) / total
  mean_x <- matrix(mean_x, ncol = ncol(x))
  passed <- findInterval(time, event_times)
  passed_sum <- function(values) c(0, cumsum(values))[passed + 1]
  at_event <- pmax(passed, 1)
  score <- event * (x - mean_x[at_event, , drop = FALSE]) -
    weight * (x * passed_sum(hazard) - apply(mean_x * hazard, 2, passed_sum))
  within <- event_times <= horizon
  counted <- event == 1 & time <= horizon
  list(
    cumulative_hazard = sum(hazard[within]),
    slope = colSums(mean_x[within, , drop = FALSE] * hazard[within]),
    influence = counted / total[at_event] - weight * passed_sum(within * hazard / total),
    score = score
  )
}

#' Probability of no activity within the horizon; its interval is normal on the log cumulative hazard
#' @noRd
predict_risk <- function(model, rows) {
  x <- standardise(rows, model$design)
  log_hazard <- log(model$cumulative_hazard) + drop(x %*% model$coefficients)
  profile <- cbind(rep(1, nrow(x)), x)
  se <- sqrt(rowSums((profile %*% model$variance) * profile))
  data.frame(
    estimate = exp(-exp(log_hazard)),
    lower = exp(-exp(log_hazard + z95 * se)),
    upper = exp(-exp(log_hazard - z95 * se)),
    se = se
  )
}

describe_coefficients <- function(model) {
  part <- function(what) vapply(model$design$terms, function(term) term[[what]], numeric(1))
  se <- sqrt(diag(model$variance)[-1])
  data.frame(
    name = vapply(model$design$terms, function(term) term$name, ""),
    center = part("center"),
    scale = part("scale"),
    coefficient = model$coefficients,
    se = se,
    hazard_ratio = exp(model$coefficients),
    lower = exp(model$coefficients - z95 * se),
    upper = exp(model$coefficients + z95 * se),
    p = 2 * stats::pnorm(-abs(model$coefficients / se))
  )
}
