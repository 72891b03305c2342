post <- function(body) irtcommon::answer(endpoints()[[1]], body)

test_that("a request comes back as draws, a row each, and diagnostics", {
  use_model(compiled_model())
  answer <- post(as_request(simulate_rows(), seed = 3, warmup = 300, draws = 500))
  expect_identical(answer$status, "success")
  data <- answer$data
  expect_identical(lengths(data$draws, use.names = FALSE), rep(1000L, 6))
  expect_identical(data$population$term, unname(parameters))
  expect_identical(c(data$n_learners, data$n_rows), c(60L, nrow(simulate_rows())))
  expect_lt(data$max_rhat, 1.05)
  expect_identical(data$engine_versions$brms, as.character(utils::packageVersion("brms")))
})

test_that("wrong input is named", {
  detail <- function(...) vapply(post(as_request(...))$errors, function(error) error$detail, "")
  rows <- simulate_rows()
  expect_match(detail(transform(rows, v = 0), seed = 1), "^v: element 1 is 0; expected .* of at least 1e-06")
  expect_match(detail(rows), "^seed: required")
  expect_match(detail(rows, seed = 1, draws = 1), "^draws: is 1; expected")
  uneven <- jsonlite::toJSON(list(student = 1:3, week = 1:3, y = 1:2, v = 1:3, seed = 1), auto_unbox = TRUE)
  expect_match(post(uneven)$errors[[1]]$detail, "^y: has 2 elements, student has 3")
})

test_that("a cohort that is too small ends with its numbers", {
  use_model(compiled_model())
  errors <- post(as_request(simulate_rows(learners = 5), seed = 1))$errors
  expect_identical(errors[[1]]$code, "not_enough_data")
  expect_match(errors[[1]]$detail, "^5 learners")
})
