# The population part of the growth model: how learners' lines are distributed, as draws from the posterior.

# What is tried in turn until the draws pass: draws (and warm-up) as many times as asked for, and the target acceptance
# rate, which shortens steps where transitions diverge.
attempts <- list(list(times = 1, adapt_delta = 0.9), list(times = 3, adapt_delta = 0.98))

# Learners with two weeks or more that a population needs.
min_learners <- 20

# Beyond these the draws say nothing reliable of the posterior (Vehtari et al., 2021).
max_rhat <- 1.05
min_ess <- 100
max_divergent_share <- 0.01

# Names of the population's parameters, by those of brms.
parameters <- c(
  b_Intercept = "intercept", b_week = "slope", sd_student__Intercept = "sd_intercept", sd_student__week = "sd_slope",
  cor_student__Intercept__week = "correlation", sigma = "sigma"
)

#' Sample the population's growth
#'
#' @param rows A data.frame, a row a learner and week: `student` (an id), `week` (weeks from any origin; sampling is
#'   fastest near the middle of the data), `y` (ability that week by its answers alone) and `v` (its variance).
#' @param model Path of the compiled model, as [compile()] returns it.
#' @param seed,chains,warmup,draws Seed of the sampler, chains, iterations of warm-up and draws kept a chain. Where the
#'   draws do not pass the checks, three times as many are tried before the fit fails.
#' @param progress `function(fraction, note)`.
#' @return A list: sizes, `formula`, `priors`, `population` (a data.frame, a row a parameter, with the ends of its 95 %
#'   interval, R-hat and effective sample sizes), `draws` (a data.frame of all draws, a column a parameter), `max_rhat`,
#'   `divergences`, `sampler` and `engine_versions`.
#' @export
fit_growth <- function(rows, model, seed, chains = 2, warmup = 400, draws = 800,
                       progress = function(fraction, note) invisible()) {
  check_rows(rows)
  progress(0, "model read")
  compiled <- readRDS(model)
  for (attempt in attempts) {
    sampler <- list(
      seed = seed, chains = chains, warmup = attempt$times * warmup, draws = attempt$times * draws,
      adapt_delta = attempt$adapt_delta
    )
    fit <- sample_growth(rows, compiled, sampler, progress)
    sampled <- brms::as_draws_array(fit, variable = names(parameters))
    population <- summarise_draws(sampled)
    divergences <- rstan::get_num_divergent(fit$fit)
    problem <- find_problem(population, divergences, chains * sampler$draws)
    if (is.null(problem)) break
  }
  if (!is.null(problem)) irtcommon::fail("model_failed", problem)
  values <- as.data.frame(posterior::as_draws_matrix(sampled))[names(parameters)]
  priors <- growth_priors()
  list(
    formula = paste(deparse(growth_formula()$formula, width.cutoff = 200), collapse = " "),
    priors = paste(priors$class, priors$prior, sep = " ~ "),
    n_learners = length(unique(rows$student)),
    n_rows = nrow(rows),
    population = population,
    draws = stats::setNames(values, parameters),
    max_rhat = max(population$rhat),
    divergences = divergences,
    max_treedepth_hits = rstan::get_num_max_treedepth(fit$fit),
    sampler = sampler,
    engine_versions = engine_versions()
  )
}

#' Sample the compiled model on these rows, one chain after another, as [brms::brm()] would with the same seed
#'
#' The sampler starts from the unit metric, in which the few parameters that the data know well force long
#' trajectories; an early first window of adaptation halves the time of the warm-up.
#' @noRd
sample_growth <- function(rows, compiled, sampler, progress) {
  data <- data.frame(y = rows$y, sqrt_v = sqrt(rows$v), week = rows$week, student = as.character(rows$student))
  progress(0.05, sprintf("%d learners, %d rows, %d draws", length(unique(data$student)), nrow(data), sampler$draws))
  stats::update(
    compiled,
    newdata = data, recompile = FALSE, seed = sampler$seed, chains = sampler$chains, warmup = sampler$warmup,
    iter = sampler$warmup + sampler$draws, cores = 1, silent = 2, refresh = 0,
    control = list(
      adapt_init_buffer = 25, adapt_window = 15, adapt_term_buffer = 50, adapt_delta = sampler$adapt_delta
    )
  )
}

summarise_draws <- function(sampled) {
  found <- posterior::summarise_draws(
    sampled, "mean", "sd", ~ posterior::quantile2(.x, probs = c(0.025, 0.975)), "rhat", "ess_bulk", "ess_tail"
  )
  numbers <- lapply(found[c("mean", "sd", "q2.5", "q97.5", "rhat", "ess_bulk", "ess_tail")], as.double)
  names(numbers)[3:4] <- c("lower", "upper")
  data.frame(term = unname(parameters[found$variable]), numbers)
}

check_rows <- function(rows) {
  weeks <- tapply(rows$week, rows$student, function(week) length(unique(week)))
  enough <- sum(weeks >= 2)
  if (enough < min_learners) {
    irtcommon::fail("not_enough_data", sprintf(
      "%d learners with two weeks or more; growth of a population needs %d", enough, min_learners
    ))
  }
  if (any(table(rows$student, rows$week) > 1)) stop("a learner has two rows of one week; expected one")
}

# What forbids to use the draws, in words, or NULL.
find_problem <- function(population, divergences, n_draws) {
  worst <- population[which.max(population$rhat), ]
  thinnest <- population[which.min(pmin(population$ess_bulk, population$ess_tail)), ]
  size <- min(thinnest$ess_bulk, thinnest$ess_tail)
  problem <- c(
    if (anyNA(population$rhat)) "a parameter did not move",
    if (isTRUE(worst$rhat > max_rhat)) {
      sprintf("R-hat of %s is %.3f, more than %.2f: the chains disagree", worst$term, worst$rhat, max_rhat)
    },
    if (isTRUE(size < min_ess)) {
      sprintf("%s has an effective sample size of %.0f, less than %d", thinnest$term, size, min_ess)
    },
    if (divergences > max_divergent_share * n_draws) {
      sprintf("%d of %d transitions diverged, more than %.0f %%", divergences, n_draws, 100 * max_divergent_share)
    }
  )
  if (length(problem)) paste(problem, collapse = "; ")
}
