#' An endpoint of a service
#'
#' @param method,path As in `"POST"`, `"/glmm/fit"`.
#' @param run `function(input, progress)`. `input` holds the checked fields by name. `progress(fraction, note)` tells
#'   how far a fit is (`fraction` 0 to 1 or `NA`). Returns a named list that JSON can say (see the README): a vector
#'   of length one is a scalar unless it is `I()` or a data.frame's column. Warnings are carried in
#'   `result$warnings`. It runs in another process: what it uses lies in its package or in itself.
#' @param fields List of [field()] rules.
#' @param kind `"fit"`: answered with 202 and a job, computed in a process of its own. `"direct"`: computed before
#'   the answer, for what takes at most seconds.
#' @param doc One line for the OpenAPI page.
#' @param suits `function()`: whether a new process is one for this fit. Where it is not the job begins again in
#'   another, at most 20 times; the twentieth computes it.
#' @export
endpoint <- function(method, path, run, fields = list(), kind = c("fit", "direct"), doc = "",
                     suits = function() TRUE) {
  structure(
    list(method = method, path = path, run = run, fields = fields, kind = match.arg(kind), doc = doc, suits = suits),
    class = "irtcommon_endpoint"
  )
}

#' A service: its name and endpoints
#'
#' @param name As in logs and metrics, for instance `"r-glmm-plumber"`.
#' @param endpoints List of [endpoint()]s.
#' @param ready `function()`: `TRUE` once requests can be served. Asked at each `/ready`, so it must be cheap.
#' @param package The R package whose version `/openapi.json` states; its namespace is loaded in every job.
#' @export
service <- function(name, endpoints, ready = function() TRUE, package = NULL) {
  structure(
    list(name = name, endpoints = endpoints, ready = ready, package = package),
    class = "irtcommon_service"
  )
}

#' End a computation with a code that the client understands
#'
#' @param code For instance `"not_enough_data"` or `"model_failed"`.
#' @param detail One sentence with the values that decided it.
#' @export
fail <- function(code, detail) {
  stop(structure(
    class = c("irtcommon_failure", "error", "condition"),
    list(message = detail, call = NULL, code = code)
  ))
}

# A request that gets no further: its HTTP status and the envelope's errors.
refuse <- function(status, code, detail) refuse_all(status, list(list(code = code, detail = detail)))

refuse_all <- function(status, errors) {
  stop(structure(
    class = c("irtcommon_refusal", "error", "condition"),
    list(message = errors[[1]]$detail, call = NULL, status = status, errors = errors)
  ))
}

envelope <- function(data = NULL, errors = list()) {
  list(status = if (length(errors)) "failure" else "success", data = data, errors = errors)
}

#' Run an endpoint's function, carrying warnings and naming failures
#'
#' @return `list(result)`, or `list(error = list(code, detail), trace)`.
#' @noRd
compute <- function(run, input, progress) {
  warnings <- character()
  trace <- NULL
  failed <- function(code, error) list(error = list(code = code, detail = conditionMessage(error)), trace = trace)
  tryCatch(
    {
      result <- withCallingHandlers(
        run(input, progress),
        warning = function(warning) {
          warnings <<- c(warnings, conditionMessage(warning))
          invokeRestart("muffleWarning")
        },
        error = function(error) trace <<- utils::limitedLabels(sys.calls())
      )
      if (!is.list(result) || is.null(names(result))) stop("an endpoint returns a named list")
      result$warnings <- I(unique(c(as.character(unlist(result$warnings)), warnings)))
      list(result = result)
    },
    irtcommon_failure = function(error) failed(error$code, error),
    error = function(error) {
      exhausted <- grepl("cannot allocate (vector|memory)|std::bad_alloc", conditionMessage(error))
      failed(if (exhausted) "out_of_memory" else "defect", error)
    }
  )
}

#' Answer a request without HTTP or processes
#'
#' What a service's tests use: the same parsing, rules and JSON as over HTTP, in this process.
#'
#' @param endpoint An [endpoint()].
#' @param body JSON text.
#' @return The parsed envelope; `data` is the result.
#' @export
answer <- function(endpoint, body) {
  enveloped <- tryCatch(
    {
      input <- check_body(endpoint$fields, body)
      computed <- compute(endpoint$run, input, function(fraction = NA, note = "") invisible())
      if (is.null(computed$error)) envelope(computed$result) else envelope(errors = list(computed$error))
    },
    irtcommon_refusal = function(refusal) envelope(errors = refusal$errors)
  )
  jsonlite::fromJSON(write_json(enveloped), simplifyDataFrame = FALSE)
}

check_body <- function(fields, text) {
  checked <- check_fields(fields, read_json(text))
  if (length(checked$errors)) refuse_all(422, checked$errors)
  checked$input
}
