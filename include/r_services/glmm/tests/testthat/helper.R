# Answers of 40 learners in 6 weeks, 24 items in 6 topics, drawn from the model.
cohort <- function(seed = 1, learners = 40) {
  set.seed(seed)
  rows <- expand.grid(learner = seq_len(learners), week = -5:0, topic = 1:6)
  rows$item <- paste0("i", rows$topic, "-", sample(4, nrow(rows), replace = TRUE))
  easy <- stats::setNames(round(stats::rnorm(24, sd = 0.7), 3), paste0("i", rep(1:6, 4), "-", rep(1:4, each = 6)))
  rows$offset <- easy[rows$item]
  ability <- stats::rnorm(learners)
  growth <- stats::rnorm(learners, 0.05, 0.15)
  log_odds <- ability[rows$learner] + growth[rows$learner] * rows$week + stats::rnorm(6, sd = 0.4)[rows$topic] +
    rows$offset
  rows$correct <- stats::rbinom(nrow(rows), 2, stats::plogis(log_odds))
  rows$answers <- 2L
  rows$learner <- sprintf("l%02d", rows$learner)
  rows$topic <- paste0("t", rows$topic)
  rows
}

without <- function(rows, ...) rows[setdiff(names(rows), c(...))]

as_json <- function(...) as.character(jsonlite::toJSON(list(...), auto_unbox = TRUE, digits = NA))
