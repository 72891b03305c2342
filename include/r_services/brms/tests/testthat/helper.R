# The compiled model: that of STAN_MODELS where it is set, else one compiled for these tests.
compiled_model <- local({
  path <- NULL
  function() {
    if (is.null(path)) path <<- compile(Sys.getenv("STAN_MODELS", file.path(tempdir(), "stan")))
    path
  }
})

# Weekly abilities of learners whose lines are known.
simulate_rows <- function(learners = 60, weeks = 6, seed = 1) {
  set.seed(seed)
  rows <- expand.grid(week = seq_len(weeks) - (weeks + 1) / 2, student = seq_len(learners))
  rows <- rows[stats::runif(nrow(rows)) < 0.9, ]
  intercept <- stats::rnorm(learners, 0.2, 0.8)
  slope <- stats::rnorm(learners, 0.05, 0.1)
  rows$v <- stats::runif(nrow(rows), 0.05, 0.4)
  noise <- stats::rnorm(nrow(rows), sd = sqrt(rows$v + 0.01))
  rows$y <- intercept[rows$student] + slope[rows$student] * rows$week + noise
  rows
}

as_request <- function(rows, ...) {
  columns <- list(student = rows$student, week = rows$week, y = rows$y, v = rows$v)
  jsonlite::toJSON(c(columns, list(...)), auto_unbox = TRUE, digits = NA)
}

# What the service is told of the compiled model, until the test ends.
use_model <- function(path, frame = parent.frame()) {
  before <- Sys.getenv("STAN_MODELS", NA)
  Sys.setenv(STAN_MODELS = dirname(path))
  restore <- function() if (is.na(before)) Sys.unsetenv("STAN_MODELS") else Sys.setenv(STAN_MODELS = before)
  do.call(on.exit, list(as.call(list(restore)), add = TRUE), envir = frame)
}
