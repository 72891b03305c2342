#' The OpenAPI 3.0 description of a service, made from its endpoints' field rules
#'
#' @param service A [service()].
#' @return A list; /openapi.json is its JSON.
#' @export
openapi <- function(service) {
  version <- if (is.null(service$package)) "0" else as.character(utils::packageVersion(service$package))
  paths <- list()
  for (endpoint in service$endpoints) paths[[endpoint$path]][[tolower(endpoint$method)]] <- operation(endpoint)
  for (endpoint in Filter(function(endpoint) endpoint$kind == "fit", service$endpoints)) {
    progress <- simple_operation("State and progress of a job, without its result.", 404)
    progress$parameters <- list(job_parameter("query", "job_id"))
    paths[[progress_path(endpoint)]]$get <- progress
  }
  job <- list(parameters = list(job_parameter("path", "job_id")))
  job$get <- simple_operation("State, progress and result of a job.", 404)
  job$delete <- simple_operation("Cancel a job; its process ends.", 404)
  paths[["/jobs/{job_id}"]] <- job
  for (path in open_paths) {
    doc <- switch(path,
      "/health" = "Is the process alive?",
      "/ready" = "Can requests be served? 503 where not.",
      "/metrics" = "Prometheus' text format.",
      "/openapi.json" = "This page."
    )
    security <- list(security = I(character()))
    paths[[path]]$get <- c(list(summary = doc, responses = list("200" = list(description = "OK"))), security)
  }
  list(
    openapi = "3.0.3",
    info = list(title = service$name, version = version),
    security = list(list(token = I(character()))),
    components = list(
      securitySchemes = list(token = list(type = "http", scheme = "bearer")),
      schemas = list(envelope = envelope_schema)
    ),
    paths = paths
  )
}

envelope_schema <- list(
  type = "object",
  required = I(c("status", "data", "errors")),
  properties = list(
    status = list(type = "string", enum = I(c("success", "failure"))),
    data = list(nullable = TRUE),
    errors = list(
      type = "array",
      items = list(
        type = "object",
        required = I(c("code", "detail")),
        properties = list(code = list(type = "string"), detail = list(type = "string"))
      )
    )
  )
)

operation <- function(endpoint) {
  fit <- endpoint$kind == "fit"
  statuses <- c(if (fit) 202 else 200, 400, 411, 413, 415, 422, 429, 503)
  described <- simple_operation(endpoint$doc, statuses[-1], statuses[[1]])
  if (fit) {
    doc <- "The same key with the same body gives the same job."
    key <- list(name = "Idempotency-Key", `in` = "header", required = FALSE, description = doc)
    described$parameters <- list(c(key, list(schema = list(type = "string"))))
  }
  described$requestBody <- list(
    required = TRUE,
    content = list("application/json" = list(schema = body_schema(endpoint$fields)))
  )
  described
}

simple_operation <- function(doc, failures, success = 200) {
  statuses <- as.character(c(success, 401, failures))
  content <- list("application/json" = list(schema = list(`$ref` = "#/components/schemas/envelope")))
  answers <- lapply(statuses, function(status) {
    list(description = if (status == success) "OK" else "Refused; see errors", content = content)
  })
  list(summary = doc, responses = stats::setNames(answers, statuses))
}

job_parameter <- function(place, name) {
  list(name = name, `in` = place, required = TRUE, schema = list(type = "string"))
}

body_schema <- function(fields) {
  properties <- lapply(fields, field_schema)
  names(properties) <- vapply(fields, function(rule) rule$name, "")
  required <- names(properties)[vapply(fields, function(rule) rule$required, NA)]
  schema <- list(type = "object", additionalProperties = FALSE, properties = properties)
  if (length(required)) schema$required <- I(required)
  schema
}

field_schema <- function(rule) {
  one <- list(type = if (rule$type == "enum") "string" else rule$type)
  if (rule$type == "enum") one$enum <- I(rule$values)
  if (rule$type == "integer") one$format <- "int32"
  one$minimum <- rule$min
  one$maximum <- rule$max
  if (rule$nullable) one$nullable <- TRUE
  if (!rule$list) {
    one$minLength <- rule$min_length
    one$maxLength <- rule$max_length
    return(c(one, described(rule)))
  }
  schema <- list(type = "array", items = one)
  schema$minItems <- rule$min_length
  schema$maxItems <- rule$max_length
  c(schema, described(rule))
}

described <- function(rule) {
  text <- rule$doc
  if (!is.null(rule$group)) text <- trimws(sprintf("%s (A column of %s: equal lengths.)", text, rule$group))
  if (nzchar(text)) list(description = text)
}
