# The growth model by brms itself, without irtbrms' sampling or closed forms:
#
#   Rscript growth_direct.R model.rds request.json out.json
#
# request: student, week, y, v; sampler (seed, chains, warmup, draws, adapt_delta); week_ahead and target, one a learner in
# the order of their numbers. model.rds: a compiled model to sample, or "compile" for one compiled here from the formula.
suppressPackageStartupMessages(library(brms))
args <- commandArgs(TRUE)
request <- jsonlite::fromJSON(args[[2]])
sampler <- request$sampler
rows <- with(request, data.frame(y, sqrt_v = sqrt(v), week, student = as.character(student)))
how <- list(
  seed = sampler$seed, chains = sampler$chains, warmup = sampler$warmup, iter = sampler$warmup + sampler$draws,
  control = list(
    adapt_init_buffer = 25, adapt_window = 15, adapt_term_buffer = 50, adapt_delta = sampler$adapt_delta
  ),
  refresh = 0, silent = 2
)
if (args[[1]] == "compile") {
  if (!file.exists(rstan::rstan_options("boost_lib"))) rstan::rstan_options(boost_lib = "/usr/include")
  model <- list(
    y | se(sqrt_v, sigma = TRUE) ~ 1 + week + (1 + week | student), data = rows,
    prior = c(
      brms::prior(normal(0, 1), class = "Intercept"), brms::prior(normal(0, 0.5), class = "b"),
      brms::prior(cauchy(0, 1), class = "sd"), brms::prior(normal(0, 0.5), class = "sigma")
    )
  )
  fit <- do.call(brms::brm, c(model, how))
} else {
  fit <- do.call(update, c(list(readRDS(args[[1]]), newdata = rows, recompile = FALSE), how))
}
draws <- as.data.frame(fit)
learners <- as.character(sort(unique(request$student)))
lines <- stats::coef(fit, summary = FALSE)$student
intercept <- lines[, learners, "Intercept"]
slope <- lines[, learners, "week"]
then <- intercept + sweep(slope, 2, request$week_ahead, "*")
result <- list(
  draws = list(
    intercept = draws$b_Intercept, slope = draws$b_week, sd_intercept = draws$sd_student__Intercept,
    sd_slope = draws$sd_student__week, correlation = draws$cor_student__Intercept__week, sigma = draws$sigma
  ),
  slope = colMeans(slope), slope_sd = apply(slope, 2, stats::sd), p_slope = colMeans(slope > 0),
  p_goal = colMeans(sweep(then, 2, request$target, ">=")), theta_sd = apply(then, 2, stats::sd)
)
writeLines(jsonlite::toJSON(result, digits = NA), args[[3]])
