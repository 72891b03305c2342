direct <- function(table, model, specification = 1, ...) {
  mirt::mirt(table, specification,
    itemtype = model, SE = TRUE, SE.type = "Oakes", TOL = 1e-6, verbose = FALSE, ...
  )
}

# Everything that a calibration says is what mirt says of its own fit.
expect_mirt_s_own <- function(found, fit) {
  items <- mirt::coef(fit, simplify = TRUE)
  testthat::expect_equal(found$items$a, unname(items$items[, "a1"]), tolerance = 1e-8)
  testthat::expect_equal(-found$items$a * found$items$b, unname(items$items[, "d"]), tolerance = 1e-8)
  testthat::expect_equal(found$items$c, unname(items$items[, "g"]), tolerance = 1e-8)
  testthat::expect_equal(found$latent$sd^2, as.numeric(items$cov), tolerance = 1e-8)
  testthat::expect_equal(found$log_likelihood, mirt::extract.mirt(fit, "logLik"), tolerance = 1e-10)
  with_errors <- mirt::coef(fit, IRTpars = TRUE, printSE = TRUE)[found$items$item]
  take <- function(row, column) unname(vapply(with_errors, function(item) item[row, column], 0))
  testthat::expect_equal(found$items$b, take("par", "b"), tolerance = 1e-8)
  testthat::expect_equal(found$items$se_a, take("SE", "a"), tolerance = 1e-8)
  testthat::expect_equal(found$items$se_b, take("SE", "b"), tolerance = 1e-8)
  testthat::expect_equal(found$items$se_c, take("SE", "g"), tolerance = 1e-8)
  scores <- mirt::fscores(fit, full.scores.SE = TRUE, quadpts = 61, theta_lim = c(-6, 6))
  testthat::expect_equal(found$persons$theta, unname(scores[, 1]), tolerance = 1e-8)
  testthat::expect_equal(found$persons$se, unname(scores[, 2]), tolerance = 1e-8)
  statistics <- mirt::itemfit(fit, fit_stats = "infit")
  testthat::expect_equal(found$items$infit, statistics$infit, tolerance = 1e-8)
  testthat::expect_equal(found$items$outfit, statistics$outfit, tolerance = 1e-8)
  testthat::expect_true(found$converged)
}

test_that("2PL and Rasch are mirt's own, with its errors, abilities and fit statistics", {
  for (model in c("2PL", "Rasch")) {
    found <- calibrate(as_long(lsat7), model)
    fit <- direct(lsat7, model)
    expect_mirt_s_own(found, fit)
    expect_equal(found$aic, mirt::extract.mirt(fit, "AIC"), tolerance = 1e-10)
    expect_equal(found$bic, mirt::extract.mirt(fit, "BIC"), tolerance = 1e-10)
    expect_equal(found$items$s_x2, mirt::itemfit(fit, fit_stats = "S_X2")$S_X2, tolerance = 1e-8)
  }
  expect_equal(found$items$a, rep(1, 5))
  expect_true(all(is.na(found$items$se_a)))
})

test_that("a table of which a third was not answered is calibrated as mirt does", {
  table <- as.matrix(lsat7)
  set.seed(1)
  table[sample(length(table), length(table) / 3)] <- NA
  table <- table[rowSums(!is.na(table)) > 0, ]
  expect_mirt_s_own(calibrate(as_long(table), "2PL"), direct(table, "2PL"))
})

test_that("the 3PL has the priors it states", {
  found <- calibrate(as_long(lsat7), "3PL", "weak")
  priors <- mirt::mirt.model("F = 1-5
    PRIOR = (1-5, a1, lnorm, 0, 0.5), (1-5, g, expbeta, 5, 17)")
  expect_mirt_s_own(found, direct(lsat7, "3PL", priors))
  expect_match(found$priors, "c ~ beta(5, 17)", fixed = TRUE)

  few <- calibrate(as_long(lsat7[1:400, ]), "2PL", weak_below = 401, weak_unit = 1.2, standard_errors = FALSE)
  prior <- mirt::mirt.model(sprintf("F = 1-5\nPRIOR = (1-5, a1, lnorm, %.17g, 0.5)", log(1.2)))
  fit <- mirt::mirt(lsat7[1:400, ], prior, "2PL", TOL = 1e-6, verbose = FALSE)
  expect_equal(few$items$a, unname(mirt::coef(fit, simplify = TRUE)$items[, "a1"]), tolerance = 1e-8)
  expect_equal(few$priors, "none")
  expect_match(few$priors_of_few, "lognormal(0.18", fixed = TRUE)
})

test_that("fixed items come back to the last digit and free the latent distribution", {
  fixed <- data.frame(item = c("Item.1", "Item.4"), a = c(1.1234567890123457, 0.7), b = c(-1.512345678901234, -pi / 5))
  found <- calibrate(as_long(lsat7), "2PL", fixed = fixed)
  own <- match(fixed$item, found$items$item)
  expect_identical(found$items$a[own], fixed$a)
  expect_identical(found$items$b[own], fixed$b)
  expect_equal(found$items$fixed, found$items$item %in% fixed$item)
  expect_true(all(is.na(found$items$se_b[own])))
  expect_false(anyNA(found$items$se_b[-own]))
  expect_gt(abs(found$latent$mean), 0.01)
  expect_gt(found$latent$se_mean, 0)
})

test_that("sparse responses, one-sided items and silent learners are dealt with and named", {
  table <- as.matrix(lsat7)
  set.seed(1)
  table[sample(length(table), 800)] <- NA
  table <- cbind(table, easy = 1, anchor = 0)
  table[-1, "easy"] <- NA
  long <- rbind(as_long(table), data.frame(learner = "only-easy", item = "easy", correct = TRUE))
  found <- calibrate(long, "2PL", fixed = data.frame(
    item = c("anchor", "unseen", "Item.1", "Item.2"), a = 1, b = c(4, 4, -1.9, -0.8)
  ))
  expect_equal(found$exclusions$all_right, I("easy"))
  expect_equal(found$exclusions$fixed_without_responses, I("unseen"))
  expect_equal(found$exclusions$n_learners_without_items, 1)
  expect_equal(found$items$b[found$items$item == "anchor"], 4)
  expect_true(all(is.na(found$items$s_x2)))
  expect_false(anyNA(found$items$infit))
})

test_that("a run that ends too early says that it did not converge", {
  expect_warning(
    found <- calibrate(as_long(lsat7), "2PL", max_iterations = 3, standard_errors = FALSE), "terminated after 3"
  )
  expect_false(found$converged)
})

test_that("covariances of an item's a, b and c are those of mirt's a, d and logit c by the delta method", {
  found <- calibrate(as_long(lsat7), "3PL", "weak")$items
  fit <- direct(lsat7, "3PL", mirt::mirt.model("F = 1-5
    PRIOR = (1-5, a1, lnorm, 0, 0.5), (1-5, g, expbeta, 5, 17)"))
  covariance <- mirt::vcov(fit)
  values <- mirt::mod2values(fit)
  for (i in 1:5) {
    own <- values[values$item == found$item[[i]] & values$est, ]
    a <- own$value[[1]]
    jacobian <- diag(c(1, -1 / a, found$c[[i]] * (1 - found$c[[i]])))
    jacobian[2, 1] <- own$value[[2]] / a^2
    names <- paste(own$name, own$parnum, sep = ".")
    expected <- jacobian %*% covariance[names, names] %*% t(jacobian)
    expect_equal(as.numeric(found[i, c("cov_ab", "cov_ac", "cov_bc")]), expected[c(4, 7, 8)], tolerance = 1e-8)
  }
  expect_true(all(is.na(calibrate(as_long(lsat7), "Rasch")$items$cov_ab)))
})

test_that("bad input is named", {
  long <- as_long(lsat7)
  expect_error(calibrate(rbind(long, long[1, ]), "2PL"), "second response to \"Item.1\"", class = "irtcommon_failure")
  fixed <- data.frame(item = "Item.1", a = 2, b = 0)
  expect_error(calibrate(long, "Rasch", fixed = fixed), "in the Rasch model a is 1", class = "irtcommon_failure")
  expect_error(calibrate(long[long$item == "Item.1", ], "2PL"), "needs 2", class = "irtcommon_failure")
})
