# The growth model, and the file that holds it compiled: compiling takes most of a minute and a C++ compiler, sampling
# neither.

#' Formula of the growth model
#'
#' `y` is a learner's ability in one week as that week's answers alone tell it, `sqrt_v` the standard error of that,
#' taken as known. `sigma` is what weeks scatter about a learner's line beyond it.
#' @export
growth_formula <- function() {
  brms::bf(y | se(sqrt_v, sigma = TRUE) ~ 1 + week + (1 + week | student))
}

#' Priors of the growth model, for abilities in logits and time in weeks
#'
#' Those of standard deviations are cut off at zero: half-Cauchy between learners (Gelman, 2006), half-normal about
#' the lines. The correlation of intercepts and slopes is uniform, LKJ(1).
#' @export
growth_priors <- function() {
  c(
    brms::set_prior("normal(0, 1)", class = "Intercept"),
    brms::set_prior("normal(0, 0.5)", class = "b"),
    brms::set_prior("cauchy(0, 1)", class = "sd"),
    brms::set_prior("normal(0, 0.5)", class = "sigma"),
    brms::set_prior("lkj(1)", class = "cor")
  )
}

#' Compile the growth model into a folder, unless it is there
#'
#' @param folder Where compiled models are kept; made where it is missing. A model's file is named after its code and
#'   the versions of R, brms and rstan, so that what another version compiled is never loaded.
#' @return The path of the compiled model, invisibly.
#' @export
compile <- function(folder) {
  path <- model_path(folder)
  if (file.exists(path)) return(invisible(path))
  dir.create(folder, showWarnings = FALSE, recursive = TRUE)
  use_boost()
  fit <- brms::brm(growth_formula(), data = any_rows(), prior = growth_priors(), chains = 0, silent = 2, refresh = 0)
  draft <- tempfile("draft-", folder)
  on.exit(unlink(draft))
  saveRDS(fit, draft)
  if (!file.rename(draft, path)) stop("the compiled model could not be moved to ", path)
  invisible(path)
}

#' Path of the compiled model in a folder
#' @noRd
model_path <- function(folder) {
  code <- brms::make_stancode(growth_formula(), any_rows(), prior = growth_priors())
  what <- c(code, R.version$platform, unlist(engine_versions()))
  file.path(folder, paste0("growth-", digest::digest(what, algo = "sha256", serialize = TRUE), ".rds"))
}

#' Folder of compiled models, from the environment
#' @noRd
models_folder <- function() {
  folder <- Sys.getenv("STAN_MODELS")
  if (!nzchar(folder)) {
    stop("STAN_MODELS is not set: expected the folder that irtbrms::compile() writes to", call. = FALSE)
  }
  folder
}

engine_versions <- function() {
  version <- function(package) format(utils::packageVersion(package))
  list(
    R = format(getRversion()), brms = version("brms"), rstan = version("rstan"), StanHeaders = version("StanHeaders")
  )
}

# Rows from which brms learns the shape of the data; the code does not depend on their values.
any_rows <- function() {
  data.frame(
    y = c(-0.4, 0.1, 0.3, -0.2, 0.2, 0.4), sqrt_v = 0.4, week = c(-1, 0, 1, -1, 0, 1),
    student = rep(c("1", "2"), each = 3)
  )
}

# Debian keeps Boost's headers outside R's library, and its BH package leads to none.
use_boost <- function() {
  system_headers <- "/usr/include"
  if (!file.exists(rstan::rstan_options("boost_lib")) && dir.exists(file.path(system_headers, "boost"))) {
    rstan::rstan_options(boost_lib = system_headers)
  }
}
