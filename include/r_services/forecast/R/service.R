#' Endpoints of r-forecast-plumber
#'
#' @return A list of `irtcommon::endpoint()`s.
#' @export
endpoints <- function() {
  list(
    survival_endpoint(),
    prophet_endpoint()
  )
}

#' Serve them until the process is told to stop; PORT, HOST and R_SERVICE_TOKEN come from the environment
#'
#' @export
serve <- function() {
  # Prophet loads Stan in its first fit: where that fails, the service must not start, rather than a night's task fail.
  loadNamespace("rstan")
  irtcommon::serve(irtcommon::service("r-forecast-plumber", endpoints(), package = "irtforecast"))
}

survival_endpoint <- function() {
  columns <- function(prefix, group, min_length) {
    column <- function(name, ...) {
      irtcommon::field(paste0(prefix, name), ..., list = TRUE, min = 0, min_length = min_length, group = group)
    }
    list(
      column("sessions", "integer", doc = "sessions in the 28 days"),
      column("mean_gap", "number", doc = "mean days between sessions, the open gap among them"),
      column("days_since_last", "integer", doc = "days since the last day with an answer"),
      column("answers", "integer", doc = "answers in the 28 days"),
      column("r_t", "number", nullable = TRUE, required = FALSE, max = 1, doc = "R_t of the 28 days; null: not known")
    )
  }
  row <- function(name, ...) irtcommon::field(name, ..., list = TRUE, group = "rows")
  fields <- c(
    list(
      row("learner", "integer", doc = "number of the learner, by landmark row"),
      row("landmark", "integer", max = -1, doc = "the landmark's day, counted from as_of"),
      row("time", "number", min = 0, doc = "days from the landmark's end to the next activity, or to as_of's end"),
      row("event", "integer", min = 0, max = 1, doc = "1: activity, 0: none up to as_of")
    ),
    columns("", "rows", 1),
    columns("scored_", "scored", 0),
    list(
      irtcommon::field("horizon_days", "integer", required = FALSE, min = 1, max = 365, doc = "default 14"),
      irtcommon::field("ridge", "number", required = FALSE, min = 0, max = 1e9, doc = "penalty; default 1")
    )
  )
  irtcommon::endpoint(
    "POST", "/survival/fit", run_survival, fields,
    kind = "fit", doc = "Cox model of the days to the next activity, its evaluation, and the risk of absence"
  )
}

run_survival <- function(input, progress) {
  covariates <- function(prefix) {
    columns <- lapply(stats::setNames(nm = names(covariate_transforms)), function(name) input[[paste0(prefix, name)]])
    columns$r_t <- or_default(columns$r_t, rep(NA_real_, length(columns$sessions)))
    as.data.frame(columns)
  }
  fit_survival(
    cbind(as.data.frame(input[c("learner", "landmark", "time", "event")]), covariates("")),
    covariates("scored_"),
    horizon = or_default(input$horizon_days, 14),
    ridge = or_default(input$ridge, 1),
    progress = progress
  )
}

or_default <- function(value, default) if (is.null(value)) default else value
