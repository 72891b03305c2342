test_that("coefficients and their errors are coxph's own with a cluster term", {
  rows <- simulate_landmarks(150)
  design <- choose_design(rows)
  for (ridge in c(0.001, 1, 100)) {
    model <- fit_cox(rows, design, horizon = 14, ridge = ridge)
    data <- list(time = rows$time, event = rows$event, x = standardise(rows, design), learner = rows$learner)
    direct <- survival::coxph(
      survival::Surv(time, event) ~ survival::ridge(x, theta = ridge, scale = FALSE),
      data = data, cluster = learner, ties = "breslow"
    )
    expect_equal(model$coefficients, unname(stats::coef(direct)), tolerance = 1e-12)
    expect_equal(model$variance[-1, -1], direct$var, tolerance = 1e-9)
  }
})

test_that("ties are Breslow's and one-row learners have Lin and Wei's error", {
  rows <- simulate_landmarks(120)
  rows$time <- ceiling(rows$time)
  rows$learner <- seq_len(nrow(rows))
  design <- choose_design(rows, c("sessions", "days_since_last"))
  model <- fit_cox(rows, design, horizon = 14, ridge = 0)
  x <- standardise(rows, design)
  direct <- survival::coxph(survival::Surv(rows$time, rows$event) ~ x, ties = "breslow", robust = TRUE)
  expect_equal(model$coefficients, unname(stats::coef(direct)), tolerance = 1e-8)
  expect_equal(model$variance[-1, -1], unname(direct$var), tolerance = 1e-8)
})

test_that("risk is the survivor function of survfit at the horizon", {
  rows <- simulate_landmarks(150)
  design <- choose_design(rows)
  model <- fit_cox(rows, design, horizon = 14, ridge = 1)
  x <- standardise(rows, design)
  direct <- survival::coxph(
    survival::Surv(time, event) ~ survival::ridge(x, theta = 1, scale = FALSE),
    data = list(time = rows$time, event = rows$event, x = x), ties = "breslow"
  )
  curves <- survival::survfit(direct, newdata = list(x = x[1:20, ]))
  survivor <- summary(curves, times = 14, extend = TRUE)$surv
  expect_equal(predict_risk(model, rows[1:20, ])$estimate, as.numeric(survivor), tolerance = 1e-9)
})

test_that("intervals are those of a bootstrap of learners", {
  rows <- simulate_landmarks(200, own_sd = 0.8)
  design <- choose_design(rows)
  scored <- rows[seq(1, 2000, by = 250), ]
  found <- predict_risk(fit_cox(rows, design, 14, 1), scored)
  own <- split(seq_len(nrow(rows)), rows$learner)
  set.seed(2)
  again <- replicate(300, {
    drawn <- sample(length(own), replace = TRUE)
    resampled <- rows[unlist(own[drawn]), ]
    resampled$learner <- rep(seq_along(drawn), lengths(own[drawn]))
    log(-log(predict_risk(fit_cox(resampled, design, 14, 1), scored)$estimate))
  })
  bootstrap <- apply(again, 1, stats::sd)
  expect_lt(max(abs(found$se / bootstrap - 1)), 0.2)
  expect_lt(abs(mean(found$se / bootstrap) - 1), 0.07)
  # Rows taken for independent, the errors would be too small by far.
  naive <- rows
  naive$learner <- seq_len(nrow(rows))
  expect_lt(mean(predict_risk(fit_cox(naive, design, 14, 1), scored)$se / bootstrap), 0.85)
  expect_equal(log(-log(found$lower)) - log(-log(found$estimate)), stats::qnorm(0.975) * found$se)
})

test_that("intervals of a risk hold the true one as often as they say", {
  covered <- vapply(1:60, function(seed) {
    rows <- simulate_landmarks(150, landmarks = 6, own_sd = 0, seed = seed)
    scored <- rows[1:10, ]
    risk <- predict_risk(fit_cox(rows, choose_design(rows), 14, 1), scored)
    truth <- exp(-14 * scored$hazard)
    mean(risk$lower <= truth & truth <= risk$upper)
  }, numeric(1))
  expect_gt(mean(covered), 0.90)
  expect_lt(mean(covered), 0.99)
})

test_that("coefficients are recovered", {
  rows <- simulate_landmarks(1500, own_sd = 0)
  model <- fit_cox(rows, choose_design(rows), 14, 1)
  terms <- describe_coefficients(model)
  plain <- stats::setNames(terms$coefficient / terms$scale, terms$name)
  # A covariate's effect where those it is multiplied with are at their means.
  typical <- function(name) mean(log1p(rows[[name]]))
  of_sessions <- plain[["sessions"]] + plain[["days_since_last:sessions"]] * typical("days_since_last")
  of_days <- plain[["days_since_last"]] + plain[["days_since_last:sessions"]] * typical("sessions") +
    plain[["days_since_last:mean_gap"]] * typical("mean_gap")
  expect_equal(of_sessions, 0.8, tolerance = 0.05)
  expect_equal(of_days, -0.4, tolerance = 0.1)
})

test_that("what is not recorded, constant or rarely known is dropped by name", {
  rows <- simulate_landmarks(60)
  rows$answers <- 3L
  rows$mean_gap[1] <- NA
  design <- choose_design(rows)
  expect_equal(design$dropped$name, c("answers", "r_t"))
  expect_equal(design$dropped$reason, c("constant: 3 in every row", "not recorded"))
  rows$r_t <- ifelse(seq_len(nrow(rows)) %% 10 == 0, 0.5, NA)
  expect_match(choose_design(rows)$dropped$reason[2], "known in 10.0 % of the rows; it needs 20 %")
  rows$r_t <- ifelse(seq_len(nrow(rows)) %% 3 == 0, stats::runif(nrow(rows)), NA)
  names <- vapply(choose_design(rows)$terms, function(term) term$name, "")
  expect_setequal(
    names,
    c("sessions", "mean_gap", "days_since_last", "r_t", "mean_gap_unknown", "r_t_unknown", "days_since_last:sessions",
      "days_since_last:mean_gap")
  )
  x <- standardise(rows, choose_design(rows))
  expect_equal(colMeans(x), rep(0, ncol(x)), tolerance = 1e-12)
  expect_false(anyNA(x))
})

test_that("rows as of a day know nothing that came later", {
  rows <- data.frame(
    learner = 1:4, landmark = c(-35, -35, -28, -14), time = c(3, 30, 28, 2), event = c(1L, 1L, 0L, 1L)
  )
  before <- cut_off(rows, -14)
  expect_equal(before$learner, 1:3)
  expect_equal(before$time, c(3, 21, 14))
  expect_equal(before$event, c(1L, 0L, 0L))
  changed <- rows
  changed$time[2] <- 25
  changed$event[3] <- 1L
  changed$time[3] <- 20
  expect_identical(cut_off(changed, -14), before)
  expect_identical(outcome_at(rows, 14), c(FALSE, TRUE, TRUE, FALSE))
  expect_identical(outcome_at(cut_off(rows, -21), 21), c(FALSE, NA, NA))
})

test_that("too few absences are refused with their number", {
  rows <- simulate_landmarks(30)
  rows$event <- 1L
  rows$time <- 1
  expect_error(fit_survival(rows, rows[1:2, ]), "360 rows of learners at landmarks with and 0 without activity")
  expect_error(fit_survival(rows[0, ], rows[1:2, ]), "0 rows of learners")
})

test_that("a time that as_of cuts off is a defect of the caller, named", {
  rows <- simulate_landmarks(60)
  rows$time[3] <- 100
  expect_error(fit_survival(rows, rows[1:2, ]), "row 3: landmark -7")
})
