test_that("a planted line is recovered, in both directions", {
  set.seed(2)
  new <- data.frame(item = letters[1:10], a = stats::rlnorm(10, 0, 0.3), b = stats::rnorm(10), c = 0.2)
  reference <- transform(new, a = a / 1.2, b = 1.2 * b + 0.5)
  for (symmetric in c(TRUE, FALSE)) {
    line <- stocking_lord(new, reference, symmetric)
    expect_equal(c(line$A, line$B), c(1.2, 0.5), tolerance = 1e-6)
  }
  back <- stocking_lord(reference, new)
  expect_equal(c(back$A, back$B), c(1 / 1.2, -0.5 / 1.2), tolerance = 1e-6)
})

test_that("Rasch scales differ by B alone, and one item makes no link", {
  new <- data.frame(item = c("x", "y", "z"), a = 1, b = c(-1, 0, 1), c = 0)
  line <- stocking_lord(new, transform(new, b = b + 0.75))
  expect_identical(line$A, 1)
  expect_equal(line$B, 0.75, tolerance = 1e-6)
  expect_equal(nrow(line$dropped), 0)
  expect_error(stocking_lord(new, new[1, ]), "1 items in common", class = "irtcommon_failure")
})

test_that("items of the reference that are no anchors are named with the reason", {
  table <- cbind(as.matrix(lsat7), easy = 1, hard = 0)
  reference <- data.frame(item = c(colnames(table), "unseen"), a = 1, b = 0.1 * 1:8)
  link <- calibrate(as_long(table), "2PL", reference = reference, standard_errors = FALSE)$linking_constants
  expect_equal(link$n_anchors_used, 5)
  expect_equal(link$dropped, data.frame(
    item = c("easy", "hard", "unseen"), reason = c("every response is right", "every response is wrong", "no response")
  ))
})
