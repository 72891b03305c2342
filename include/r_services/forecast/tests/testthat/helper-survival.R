# Learners at weekly landmarks whose return has a known hazard: constant over time, log-linear in the transformed
# covariates. A learner has the same tendency at every landmark, so that rows of a learner go together.
simulate_landmarks <- function(learners, landmarks = 12, effects = c(0.8, -0.4), own_sd = 0.5, seed = 1) {
  set.seed(seed)
  rows <- expand.grid(learner = seq_len(learners), week = seq_len(landmarks))
  n <- nrow(rows)
  rows$landmark <- -7 * rows$week
  rows$sessions <- 1 + stats::rpois(n, 3)
  rows$days_since_last <- stats::rpois(n, 5)
  rows$mean_gap <- round(stats::rexp(n, 0.2), 2)
  rows$answers <- rows$sessions + stats::rpois(n, 10)
  rows$r_t <- NA_real_
  own <- stats::rnorm(learners, 0, own_sd)[rows$learner]
  rows$hazard <- exp(-3 + effects[1] * log1p(rows$sessions) + effects[2] * log1p(rows$days_since_last) + own)
  to_return <- stats::rexp(n) / rows$hazard
  rows$event <- as.integer(to_return <= -rows$landmark)
  rows$time <- pmin(to_return, -rows$landmark)
  rows
}

# The request of /survival/fit that asks for these rows and scores some of them.
survival_body <- function(rows, scored, ...) {
  covariates <- c("sessions", "mean_gap", "days_since_last", "answers", "r_t")
  columns <- c(
    as.list(rows[c("learner", "landmark", "time", "event", covariates)]),
    stats::setNames(as.list(scored[covariates]), paste0("scored_", covariates))
  )
  jsonlite::toJSON(c(lapply(columns, I), list(...)), digits = NA, na = "null", auto_unbox = TRUE)
}
