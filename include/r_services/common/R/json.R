# JSON without loss: a double written with 17 significant digits is read back as the same bits.

#' Parse JSON text as it stands
#'
#' Arrays become unnamed lists, objects named ones; numbers, strings and booleans keep their types and `null` is
#' `NULL`. The standard's grammar only: `NaN`, `Infinity`, comments and trailing commas are refused.
#' @noRd
read_json <- function(text) {
  if (has_comment(text)) refuse(400, "invalid_json", "JSON has no comments")
  tryCatch(
    jsonlite::parse_json(text, simplifyVector = FALSE),
    error = function(error) refuse(400, "invalid_json", first_line(error)),
    warning = function(warning) refuse(400, "invalid_json", first_line(warning))
  )
}

# jsonlite skips comments. The search outside strings is slow, and almost never needed.
has_comment <- function(text) {
  if (!grepl("/*", text, fixed = TRUE) && !grepl("//", text, fixed = TRUE)) return(FALSE)
  grepl("/", gsub("\"(\\\\.|[^\"\\\\])*+\"", "", text, perl = TRUE), fixed = TRUE)
}

first_line <- function(condition) trimws(sub("\n.*", "", conditionMessage(condition)))

#' Write a value as JSON text
#'
#' A vector of length one is a scalar unless it is `I()` or a data.frame's column; a longer or empty one is an array;
#' a named list is an object, a data.frame an object of columns. `NA` is `null`; `NaN` and infinities are an error,
#' because JSON has no such number and a null would hide them.
#' @noRd
write_json <- function(value, path = "result") {
  if (is.null(value)) return("null")
  if (inherits(value, "json")) return(unclass(value))
  if (is.data.frame(value)) value <- lapply(value, I)
  if (is.list(value)) return(write_members(value, path))
  elements <- write_elements(value, path)
  if (length(elements) == 1 && !inherits(value, "AsIs")) return(elements)
  paste0("[", paste(elements, collapse = ","), "]")
}

write_members <- function(value, path) {
  names <- names(value)
  where <- if (is.null(names)) sprintf("%s[%d]", path, seq_along(value)) else paste0(path, "$", names)
  members <- as.character(Map(write_json, value, where))
  if (is.null(names)) return(paste0("[", paste(members, collapse = ","), "]"))
  paste0("{", paste(sprintf("%s:%s", write_strings(names), members), collapse = ","), "}")
}

write_elements <- function(value, path) {
  if (!is.null(dim(value))) stop(path, " is a matrix; expected vectors, lists and data.frames")
  if (is.factor(value) || inherits(value, "Date")) value <- as.character(value)
  written <- switch(typeof(value),
    double = {
      odd <- which(is.nan(value) | is.infinite(value))
      if (length(odd)) stop(sprintf("%s[%d] is %s, which JSON cannot say", path, odd[[1]], value[[odd[[1]]]]))
      sprintf("%.17g", value)
    },
    integer = sprintf("%d", value),
    logical = ifelse(value, "true", "false"),
    character = write_strings(value),
    stop(sprintf("%s is a %s, which JSON cannot say", path, typeof(value)))
  )
  written[is.na(value)] <- "null"
  written
}

write_strings <- function(value) {
  if (!length(value)) return(character())
  value <- enc2utf8(as.character(value))
  written <- paste0("\"", value, "\"")
  special <- grepl("[\"\\\\[:cntrl:]]", value)
  written[special] <- vapply(value[special], function(one) unclass(jsonlite::toJSON(one, auto_unbox = TRUE)), "")
  written
}
