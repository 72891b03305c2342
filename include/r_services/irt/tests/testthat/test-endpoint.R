test_that("/irt/calibrate answers with items, abilities and the link", {
  found <- calibrate(as_long(lsat7), "2PL")
  answered <- ask(
    model = "2PL", reference_item = found$items$item, reference_a = found$items$a / 1.1,
    reference_b = 1.1 * found$items$b - 0.3
  )
  expect_equal(answered$status, "success")
  expect_equal(answered$data$items$b, found$items$b)
  expect_equal(answered$data$persons$theta, found$persons$theta)
  expect_equal(answered$data$linking_constants$A, 1.1, tolerance = 1e-5)
  expect_equal(answered$data$linking_constants$B, -0.3, tolerance = 1e-5)
})

test_that("wrong fields are named", {
  answered <- ask(model = "4PL", nodes = 3)
  details <- vapply(answered$errors, function(error) error$detail, "")
  expect_match(details, "^model: ", all = FALSE)
  expect_match(details, "^nodes: ", all = FALSE)
})
