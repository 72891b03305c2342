#' A rule for one field of a request's JSON object
#'
#' The rules of an endpoint check its requests and describe it in /openapi.json.
#'
#' @param name Key in the JSON object.
#' @param type Type of the value, or of each element of a list. Nothing is converted: `1` is no string, `"1"` no
#'   number and `true` neither. An integer may be written `3.0` and lies within 32 bits; a number is finite.
#' @param list Is the value an array? It arrives as an atomic vector.
#' @param required Must the key be there? An absent optional field arrives as `NULL`.
#' @param nullable May the value (of a list: an element) be `null`? It arrives as `NULL` (in a list: as `NA`).
#' @param min,max Inclusive bounds of numbers and integers.
#' @param values What an enum may be.
#' @param min_length,max_length Bounds of a list's length, or of a single string's characters. A list has at least
#'   one element unless `min_length = 0`.
#' @param group Lists of one group are columns of one table: they have equal lengths.
#' @param doc One line for the OpenAPI page.
#' @export
field <- function(name, type = c("string", "integer", "number", "boolean", "enum"), list = FALSE, required = TRUE,
                  nullable = FALSE, min = NULL, max = NULL, values = NULL, min_length = NULL, max_length = NULL,
                  group = NULL, doc = "") {
  type <- match.arg(type)
  if ((type == "enum") != is.character(values)) {
    stop("field ", name, ": values go with type \"enum\" and only with it")
  }
  if (list && is.null(min_length)) min_length <- 1L
  structure(
    base::list(
      name = name, type = type, list = list, required = required, nullable = nullable, min = min, max = max,
      values = values, min_length = min_length, max_length = max_length, group = group, doc = doc
    ),
    class = "irtcommon_field"
  )
}

#' Check a parsed JSON object against field rules
#'
#' @param fields List of [field()] rules.
#' @param body What [read_json()] made of the request.
#' @return `list(input, errors)`: the typed values by name, and one `list(code, detail)` for each field that is wrong.
#' @noRd
check_fields <- function(fields, body) {
  if (!is.list(body) || (length(body) > 0 && is.null(names(body)))) {
    return(list(input = NULL, errors = list(invalid("the body", "expected a JSON object"))))
  }
  known <- vapply(fields, function(rule) rule$name, "")
  errors <- lapply(
    setdiff(names(body), known),
    function(name) invalid(name, paste("no such field; this endpoint takes", toString(known)))
  )
  for (name in unique(names(body)[duplicated(names(body))])) {
    errors <- c(errors, list(invalid(name, "given more than once")))
  }
  input <- list()
  for (rule in fields) {
    checked <- check_field(rule, body)
    if (is.null(checked$problem)) {
      input[rule$name] <- list(checked$value)
    } else {
      errors <- c(errors, list(invalid(rule$name, checked$problem)))
    }
  }
  list(input = input, errors = c(errors, check_groups(fields, input)))
}

invalid <- function(name, problem) list(code = "invalid_field", detail = paste0(name, ": ", problem))

check_field <- function(rule, body) {
  if (!rule$name %in% names(body)) {
    return(if (rule$required) list(problem = "required") else list(value = NULL))
  }
  value <- body[[rule$name]]
  if (is.null(value)) {
    if (rule$nullable && !rule$list) return(list(value = NULL))
    return(list(problem = paste("is null; expected", expected(rule))))
  }
  if (rule$list) check_list(rule, value) else check_scalar(rule, value)
}

check_scalar <- function(rule, value) {
  if (!has_type(rule$type, list(value))) {
    return(list(problem = sprintf("is %s; expected %s", describe(value), expected(rule))))
  }
  problem <- c(check_values(rule, value), if (rule$type == "string") check_length(rule, nchar(value), "characters"))
  if (length(problem)) return(list(problem = problem[[1]]))
  list(value = as_type(rule$type, value))
}

check_list <- function(rule, value) {
  if (!is.list(value) || !is.null(names(value))) {
    return(list(problem = sprintf("is %s; expected %s", describe(value), expected(rule))))
  }
  problem <- check_length(rule, length(value), "elements")
  if (!is.null(problem)) return(list(problem = problem))
  null <- vapply(value, is.null, NA)
  wrong <- which(!has_type(rule$type, value) & !(rule$nullable & null))
  if (length(wrong)) {
    first <- wrong[[1]]
    detail <- sprintf("element %d is %s; expected %s", first, describe(value[[first]]), expected(rule))
    return(list(problem = detail))
  }
  value[null] <- NA
  value <- as_type(rule$type, unlist(value, use.names = FALSE))
  problem <- check_values(rule, value)
  if (is.null(problem)) list(value = value) else list(problem = problem)
}

# Which elements of a parsed JSON array have a rule's type. Primitives only: columns have a million rows.
has_type <- function(type, values) {
  test <- switch(type, string = , enum = is.character, integer = , number = is.numeric, boolean = is.logical)
  vapply(values, test, NA)
}

as_type <- function(type, value) {
  if (is.null(value)) value <- logical() # an empty list
  switch(type,
    string = , enum = as.character(value),
    integer = if (all(is.na(value) | is_whole(value))) as.integer(value) else value,
    number = as.double(value),
    boolean = as.logical(value)
  )
}

is_whole <- function(value) is.finite(value) & abs(value) <= .Machine$integer.max & value == round(value)

check_values <- function(rule, value) {
  given <- !is.na(value)
  wrong <- switch(rule$type,
    string = rep(FALSE, length(value)),
    boolean = rep(FALSE, length(value)),
    enum = !value %in% rule$values,
    integer = !is_whole(value),
    number = !is.finite(value)
  )
  if (rule$type %in% c("integer", "number")) {
    if (!is.null(rule$min)) wrong <- wrong | value < rule$min
    if (!is.null(rule$max)) wrong <- wrong | value > rule$max
  }
  wrong <- which(given & wrong)
  if (!length(wrong)) return(NULL)
  first <- wrong[[1]]
  where <- if (rule$list) sprintf("element %d is", first) else "is"
  sprintf("%s %s; expected %s", where, shown(value[[first]]), expected(rule))
}

check_length <- function(rule, length, unit) {
  if (!is.null(rule$min_length) && length < rule$min_length) {
    return(sprintf("has %d %s; expected at least %d", length, unit, rule$min_length))
  }
  if (!is.null(rule$max_length) && length > rule$max_length) {
    return(sprintf("has %d %s; expected at most %d", length, unit, rule$max_length))
  }
  NULL
}

check_groups <- function(fields, input) {
  columns <- Filter(function(rule) !is.null(rule$group) && !is.null(input[[rule$name]]), fields)
  errors <- list()
  for (group in split(columns, vapply(columns, function(rule) rule$group, ""))) {
    names <- vapply(group, function(rule) rule$name, "")
    lengths <- lengths(input[names])
    for (i in which(lengths != lengths[[1]])) {
      problem <- sprintf("has %d elements, %s has %d; expected equal lengths", lengths[[i]], names[[1]], lengths[[1]])
      errors <- c(errors, list(invalid(names[[i]], problem)))
    }
  }
  errors
}

expected <- function(rule) {
  one <- switch(rule$type,
    enum = paste("one of", toString(rule$values)),
    integer = "an integer",
    number = "a finite number",
    paste("a", rule$type)
  )
  if (!is.null(rule$min)) one <- paste(one, "of at least", shown(rule$min))
  if (!is.null(rule$max)) one <- paste(one, if (is.null(rule$min)) "of at most" else "and at most", shown(rule$max))
  one <- if (rule$list) paste("an array, each element", one) else one
  if (rule$nullable) paste(one, "or null") else one
}

describe <- function(value) {
  if (is.null(value)) return("null")
  if (is.list(value)) return(if (is.null(names(value))) "an array" else "an object")
  if (is.character(value)) return(paste("the string", shown(value)))
  shown(value)
}

shown <- function(value) {
  if (is.character(value)) return(encodeString(strtrim(value, 60), quote = "\""))
  if (is.logical(value)) return(if (value) "true" else "false")
  format(value, digits = 15)
}
