test_that("the model fitted is the model documented: a prior that changes silently changes every P", {
  rows <- transform(simulate_rows(), sqrt_v = sqrt(v))
  code <- brms::make_stancode(growth_formula(), rows, prior = growth_priors())
  expect_match(code, "normal_lpdf(Y | mu, sqrt(square(sigma) + se2))", fixed = TRUE)
  expect_match(code, "normal_lpdf(b | 0, 0.5)", fixed = TRUE)
  expect_match(code, "normal_lpdf(Intercept | 0, 1)", fixed = TRUE)
  expect_match(code, "normal_lpdf(sigma | 0, 0.5)\n    - 1 * normal_lccdf(0 | 0, 0.5)", fixed = TRUE)
  expect_match(code, "cauchy_lpdf(sd_1 | 0, 1)\n    - 2 * cauchy_lccdf(0 | 0, 1)", fixed = TRUE)
  expect_match(code, "lkj_corr_cholesky_lpdf(L_1 | 1)", fixed = TRUE)
})

test_that("a compiled model is compiled once", {
  path <- compiled_model()
  before <- file.mtime(path)
  expect_identical(compile(dirname(path)), path)
  expect_identical(file.mtime(path), before)
})

test_that("draws are those of Stan called directly on brms' code and data, with the same seed", {
  rows <- simulate_rows()
  found <- fit_growth(rows, compiled_model(), seed = 11, warmup = 300, draws = 500) |> suppressWarnings()
  formula <- y | se(sqrt(v), sigma = TRUE) ~ 1 + week + (1 + week | student)
  data <- transform(rows, student = as.character(student))
  sampler <- found$sampler
  direct <- rstan::sampling(
    rstan::get_stanmodel(readRDS(compiled_model())$fit),
    data = unclass(brms::make_standata(formula, data)), seed = sampler$seed, chains = sampler$chains,
    warmup = sampler$warmup, iter = sampler$warmup + sampler$draws, refresh = 0,
    control = list(
      adapt_init_buffer = 25, adapt_window = 15, adapt_term_buffer = 50, adapt_delta = sampler$adapt_delta
    )
  ) |> suppressWarnings()
  names <- c("b_Intercept", "b[1]", "sd_1[1]", "sd_1[2]", "cor_1[1]", "sigma")
  expected <- as.data.frame(direct, pars = names)
  expect_identical(unname(as.list(found$draws)), unname(as.list(expected[names])))
  expect_equal(found$population$mean, unname(colMeans(expected[names])))
  expect_equal(found$max_rhat, max(found$population$rhat))
})

test_that("too few learners, and a week twice, are told apart", {
  rows <- simulate_rows(learners = 10)
  expect_error(fit_growth(rows, compiled_model(), seed = 1), "10 learners with two weeks or more; .* needs 20")
  rows <- simulate_rows()
  expect_error(fit_growth(rbind(rows, rows[1, ]), compiled_model(), seed = 1), "two rows of one week")
})

test_that("draws that say nothing of the posterior are refused", {
  sampled_well <- data.frame(term = c("slope", "sigma"), rhat = c(1, 1.01), ess_bulk = c(900, 400), ess_tail = 500)
  expect_null(find_problem(sampled_well, 0, 1000))
  expect_match(find_problem(transform(sampled_well, rhat = c(1, 1.2)), 0, 1000), "R-hat of sigma is 1.200")
  expect_match(find_problem(transform(sampled_well, ess_tail = c(500, 20)), 0, 1000), "sigma has .* size of 20")
  expect_match(find_problem(sampled_well, 11, 1000), "11 of 1000 transitions diverged")
  expect_match(find_problem(transform(sampled_well, rhat = NA), 0, 1000), "did not move")
})

test_that("chains that cannot converge end in the refusal, after the second try: no draws come back", {
  one_iteration <- function() fit_growth(simulate_rows(), compiled_model(), seed = 1, warmup = 1, draws = 60)
  refusal <- expect_error(one_iteration(), class = "irtcommon_failure") |> suppressWarnings()
  expect_identical(refusal$code, "model_failed")
  expect_match(conditionMessage(refusal), "^R-hat of .* the chains disagree")
  # 60 draws of two chains, three times as many in the second try.
  expect_match(conditionMessage(refusal), "of 360 transitions diverged, more than 1 %")
})
