#' Endpoints of r-brms-plumber
#'
#' @return A list of `irtcommon::endpoint()`s.
#' @export
endpoints <- function() {
  row <- function(name, ...) irtcommon::field(name, ..., list = TRUE, group = "rows")
  setting <- function(name, min, max, doc) {
    irtcommon::field(name, "integer", required = FALSE, min = min, max = max, doc = doc)
  }
  list(irtcommon::endpoint(
    "POST", "/growth/fit", run_growth,
    list(
      row("student", "integer", min = 0, doc = "number of the learner, by row"),
      row("week", "number", min = -1000, max = 1000, doc = "week, counted from any origin"),
      row("y", "number", min = -1e6, max = 1e6, doc = "ability that week, by its answers alone"),
      row("v", "number", min = 1e-6, max = 1e12, doc = "variance of y"),
      irtcommon::field("seed", "integer", min = 1, doc = "of the sampler"),
      setting("chains", 2, 8, "default 2"),
      setting("warmup", 100, 10000, "iterations of warm-up a chain; default 400"),
      setting("draws", 100, 10000, "draws kept a chain; default 800")
    ),
    kind = "fit", doc = "Posterior draws of the distribution of learners' growth, and their diagnostics"
  ))
}

#' Serve them until the process is told to stop
#'
#' PORT, HOST, R_SERVICE_TOKEN and STAN_MODELS come from the environment. Where the folder STAN_MODELS does not hold
#' the compiled model yet, it is compiled first.
#' @export
serve <- function() {
  model <- compile(models_folder())
  ready <- function() file.exists(model)
  irtcommon::serve(irtcommon::service("r-brms-plumber", endpoints(), ready = ready, package = "irtbrms"))
}

run_growth <- function(input, progress) {
  given <- input[intersect(c("seed", "chains", "warmup", "draws"), names(Filter(Negate(is.null), input)))]
  rows <- as.data.frame(input[c("student", "week", "y", "v")])
  do.call(fit_growth, c(list(rows = rows, model = model_path(models_folder()), progress = progress), given))
}
