#' Endpoints of r-irt-plumber.
#'
#' @return A list of `irtcommon::endpoint()`s.
#' @export
endpoints <- function() {
  list(calibrate_endpoint())
}

#' Serve them until the process is told to stop; PORT, HOST and R_SERVICE_TOKEN come from the environment.
#'
#' @export
serve <- function() {
  irtcommon::serve(irtcommon::service("r-irt-plumber", endpoints(), package = "irtmirt"))
}

calibrate_endpoint <- function() {
  irtcommon::endpoint(
    "POST", "/irt/calibrate",
    run = function(input, progress) {
      table <- function(prefix) {
        columns <- input[paste0(prefix, c("item", "a", "b", "c"))]
        if (length(columns[[1]])) as.data.frame(stats::setNames(Filter(length, columns), item_columns(prefix, columns)))
      }
      options <- input[c(
        "model", "priors", "weak_below", "weak_unit", "logit_c", "nodes", "lower", "upper", "tolerance",
        "max_iterations", "standard_errors", "symmetric"
      )]
      do.call(calibrate, c(
        list(
          responses = as.data.frame(input[c("learner", "item", "correct")]),
          fixed = table("fixed_"), reference = table("reference_"), progress = progress
        ),
        Filter(length, options)
      ))
    },
    fields = c(
      response_fields(), option_fields(),
      item_fields("fixed_", "Items that keep their parameters"), item_fields("reference_", "Items of a reference scale")
    ),
    kind = "fit",
    doc = "Calibrate items by marginal maximum likelihood (mirt), with abilities, item fit and the link to a reference."
  )
}

item_columns <- function(prefix, columns) sub(prefix, "", names(Filter(length, columns)))

response_fields <- function() {
  column <- function(name, type, doc) {
    irtcommon::field(name, type, list = TRUE, group = "responses", doc = doc)
  }
  list(
    column("learner", "string", "Learner of each response."),
    column("item", "string", "Item; a learner answers it at most once."),
    column("correct", "boolean", "Is the response right?")
  )
}

option_fields <- function() {
  option <- function(name, type, doc, ...) irtcommon::field(name, type, required = FALSE, doc = doc, ...)
  list(
    irtcommon::field("model", "enum", values = c("Rasch", "2PL", "3PL"), doc = "Rasch: a = 1, free latent variance."),
    option("priors", "enum", "weak: a ~ lognormal(0, 0.5), c ~ beta(5, 17). Default none.", values = c("none", "weak")),
    option("weak_below", "integer", "Items with fewer responses have the weak priors in any case. Default 0.", min = 0),
    option("weak_unit", "number", "sd of theta on the scale that the weak priors are meant for. Default 1.",
      min = 1e-3, max = 1e3
    ),
    option("logit_c", "number", "Mean and sd of a normal prior of logit c, in place of the beta prior.",
      list = TRUE, min_length = 2, max_length = 2
    ),
    option("nodes", "integer", "Quadrature points. Default 61.", min = 5, max = 501),
    option("lower", "number", "First quadrature point. Default -6.", max = -1),
    option("upper", "number", "Last quadrature point. Default 6.", min = 1),
    option("tolerance", "number", "Largest parameter change that ends the EM algorithm. Default 1e-6.",
      min = 1e-12, max = 0.1
    ),
    option("max_iterations", "integer", "EM cycles at most. Default 2000.", min = 1, max = 100000),
    option("standard_errors", "boolean", "Compute them (Oakes)? Default true."),
    option("symmetric", "boolean", "Does the link count both directions? Default true.")
  )
}

item_fields <- function(prefix, what) {
  column <- function(name, type, doc, ...) {
    irtcommon::field(paste0(prefix, name), type,
      list = TRUE, required = FALSE, group = sub("_", "", prefix), doc = paste0(what, ": ", doc), ...
    )
  }
  list(
    column("item", "string", "their names."),
    column("a", "number", "discriminations."),
    column("b", "number", "difficulties."),
    column("c", "number", "lower asymptotes; 0 unless given.", min = 0, max = 0.99)
  )
}
