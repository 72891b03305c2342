points <- list(
  field("x", "number", list = TRUE, group = "points"),
  field("y", "number", list = TRUE, nullable = TRUE, group = "points"),
  field("rounds", "integer", required = FALSE, min = 1, max = 10)
)

check <- function(json, fields = points) check_fields(fields, read_json(json))

details <- function(checked) vapply(checked$errors, function(error) error$detail, "")

test_that("columns become atomic vectors of their rule's type", {
  checked <- check('{"x": [1, 2], "y": [null, 3.5], "rounds": 3}')
  expect_length(checked$errors, 0)
  expect_identical(checked$input, list(x = c(1, 2), y = c(NA, 3.5), rounds = 3L))
})

test_that("an absent optional field is NULL and an absent required one is an error", {
  checked <- check('{"x": [1]}')
  expect_identical(details(checked), "y: required")
  expect_null(check('{"x": [1], "y": [1]}')$input$rounds)
})

test_that("nothing is converted to another type", {
  expect_match(details(check('{"x": ["1"], "y": [1]}')), "x: element 1 is the string \"1\"", fixed = TRUE)
  expect_match(details(check('{"x": [1, true], "y": [1, 2]}')), "x: element 2 is true", fixed = TRUE)
  expect_match(details(check('{"x": [1, [2]], "y": [1, 2]}')), "x: element 2 is an array", fixed = TRUE)
  expect_match(details(check('{"x": [1], "y": [1], "rounds": 1.5}')), "rounds: is 1.5", fixed = TRUE)
  text <- list(field("text", "string", list = TRUE))
  expect_identical(check('{"text": ["NA", "TRUE", "1"]}', text)$input$text, c("NA", "TRUE", "1"))
})

test_that("bounds are inclusive and said", {
  expect_length(check('{"x": [1], "y": [1], "rounds": 10}')$errors, 0)
  expected <- "rounds: is 11; expected an integer of at least 1 and at most 10"
  expect_identical(details(check('{"x": [1], "y": [1], "rounds": 11}')), expected)
})

test_that("columns of one group have one length", {
  expect_identical(details(check('{"x": [1, 2], "y": [1]}')), "y: has 1 elements, x has 2; expected equal lengths")
})

test_that("a field that no rule names is an error", {
  expect_match(details(check('{"x": [1], "y": [1], "Rounds": 3}')), "^Rounds: no such field")
})

test_that("an enum's values are part of its rule", {
  expect_error(field("model", "enum"), "values go with type")
  expect_error(field("model", "string", values = "2PL"), "values go with type")
  model <- list(field("model", "enum", values = c("2PL", "Rasch")))
  expect_identical(check('{"model": "Rasch"}', model)$input$model, "Rasch")
  expect_match(details(check('{"model": "1PL"}', model)), "expected one of 2PL, Rasch", fixed = TRUE)
})
