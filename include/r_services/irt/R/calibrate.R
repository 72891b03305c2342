# Calibration by mirt. P = c + (1 - c) / (1 + exp(-a (theta - b))); mirt's own parameters are a, d = -a b and c.

# mirt holds every learner's response to every item, several times over.
max_cells <- 5e7

# The weak priors on a scale whose theta has the sd `unit` on the scale that they are meant for.
weak_priors <- function(model, unit, logit_c) {
  of_c <- if (length(logit_c)) list(type = "norm", logit_c[[1]], logit_c[[2]]) else list(type = "expbeta", 5, 17)
  priors <- list(a1 = list(type = "lnorm", log(unit), 0.5), g = of_c)
  switch(model, Rasch = list(), "2PL" = priors["a1"], "3PL" = priors)
}

priors_text <- function(model, unit, logit_c) {
  of_c <- if (length(logit_c)) sprintf("logit(c) ~ normal(%g, %g)", logit_c[[1]], logit_c[[2]]) else "c ~ beta(5, 17)"
  texts <- c(sprintf("a ~ lognormal(%g, 0.5)", log(unit)), of_c)
  switch(model, Rasch = "none", "2PL" = texts[[1]], "3PL" = paste(texts, collapse = ", "))
}

#' Calibrate items
#'
#' Marginal maximum likelihood by the EM algorithm (Bock and Aitkin, 1981) as `mirt::mirt()` does it. theta is N(0, 1),
#' in the Rasch model N(0, sd^2) with sd estimated; fixed items free its mean and sd.
#'
#' @param responses A data.frame: `learner`, `item` (texts), `correct` (logical); a row a response.
#' @param model `"Rasch"`, `"2PL"` or `"3PL"`.
#' @param priors `"none"`, or `"weak"`: a ~ lognormal(0, 0.5) and c ~ beta(5, 17), where the model estimates them.
#' @param weak_below Items with fewer responses than this have the weak priors also where the others have none.
#' @param weak_unit sd of theta, here 1, on the scale that the weak priors are meant for: a / weak_unit ~
#'   lognormal(0, 0.5).
#' @param logit_c Mean and sd of a normal prior of logit c in place of the beta prior, at whose maximum mirt's default
#'   optimizer does not arrive.
#' @param fixed A data.frame of items that keep their parameters: `item`, `a`, `b` and, optionally, `c`.
#' @param reference A data.frame of the same columns: items on the scale to link to.
#' @param nodes,lower,upper The quadrature: equally spaced points.
#' @param tolerance Largest change of a parameter that ends the EM algorithm.
#' @param max_iterations EM cycles at most.
#' @param standard_errors Compute them? (`SE.type = "Oakes"`: the observed information, all parameters together.)
#' @param symmetric Does the link count both directions?
#' @param progress `function(fraction, note)`.
#' @return A list: `model`, `priors`, `items` (item, a, b, c, their standard errors and covariances, fixed,
#'   n_responses, p_value, infit, outfit, S-X2 with degrees of freedom and p: `NA` where responses are missing),
#'   `latent` (mean, sd and their errors), `persons` (learner, theta and se: EAP, n_responses), `linking_constants`,
#'   `exclusions`, sizes, `log_likelihood` (without log-priors), `aic`, `bic`, `converged`, `iterations`,
#'   `quadrature`, `engine_versions`, `messages`.
#' @export
calibrate <- function(responses, model = c("2PL", "3PL", "Rasch"), priors = c("none", "weak"), weak_below = 0,
                      weak_unit = 1, logit_c = NULL, fixed = NULL, reference = NULL, nodes = 61, lower = -6, upper = 6,
                      tolerance = 1e-6, max_iterations = 2000, standard_errors = TRUE, symmetric = TRUE,
                      progress = function(fraction, note) invisible()) {
  model <- match.arg(model)
  priors <- match.arg(priors)
  fixed <- check_items(fixed, "fixed", model)
  reference <- check_items(reference, "reference", "3PL")
  if (length(logit_c) && logit_c[[2]] <= 0) irtcommon::fail("invalid_field", "logit_c: expected a mean and an sd > 0")
  sorted <- as_matrix(responses, fixed)
  check_size(sorted$matrix, fixed)
  few <- colnames(sorted$matrix)[priors == "weak" | colSums(!is.na(sorted$matrix)) < weak_below]
  weak <- list(items = few, priors = weak_priors(model, weak_unit, logit_c))
  messages <- character()
  heard <- function(message) {
    messages <<- c(messages, trimws(conditionMessage(message)))
    invokeRestart("muffleMessage")
  }
  progress(0, "EM")
  fit <- tryCatch(
    withCallingHandlers(
      fit_mirt(sorted$matrix, model, weak, fixed, nodes, lower, upper, tolerance, max_iterations, standard_errors),
      message = heard
    ),
    error = function(error) irtcommon::fail("model_failed", paste("mirt:", conditionMessage(error)))
  )
  progress(0.7, "abilities")
  persons <- abilities_of(fit, sorted$matrix, nodes, lower, upper)
  progress(0.8, "item fit")
  errors <- if (standard_errors) covariance_of_fit(fit)
  items <- describe_items(fit, sorted$matrix, fixed, errors)
  items <- cbind(items, withCallingHandlers(item_fit_of(fit, sorted$matrix, persons$theta), message = heard))
  latent <- describe_latent(fit, errors)
  values <- mirt::mod2values(fit)
  n_parameters <- sum(values$est)
  log_likelihood <- mirt::extract.mirt(fit, "logLik")
  list(
    model = model,
    priors = if (priors == "weak") priors_text(model, weak_unit, logit_c) else "none",
    priors_of_few = if (priors == "weak" || weak_below > 0) priors_text(model, weak_unit, logit_c) else "none",
    items = items,
    latent = latent,
    persons = persons,
    linking_constants = if (nrow(reference)) stocking_lord(items, reference, symmetric, sorted$exclusions),
    exclusions = sorted$exclusions,
    n_persons = nrow(sorted$matrix),
    n_items = ncol(sorted$matrix),
    n_responses = sum(!is.na(sorted$matrix)),
    n_parameters = n_parameters,
    log_likelihood = log_likelihood,
    aic = 2 * n_parameters - 2 * log_likelihood,
    bic = log(nrow(sorted$matrix)) * n_parameters - 2 * log_likelihood,
    converged = mirt::extract.mirt(fit, "converged"),
    iterations = mirt::extract.mirt(fit, "iterations"),
    se_method = if (is.null(errors)) "none" else "Oakes",
    quadrature = list(nodes = nodes, lower = lower, upper = upper),
    tolerance = tolerance,
    engine_versions = list(R = format(getRversion()), mirt = getNamespaceVersion("mirt")[[1]]),
    messages = I(unique(messages))
  )
}

check_items <- function(items, what, model) {
  if (is.null(items)) {
    return(data.frame(item = character(), a = numeric(), b = numeric(), c = numeric()))
  }
  invalid <- function(column, detail) irtcommon::fail("invalid_field", sprintf("%s_%s: %s", what, column, detail))
  for (column in c("a", "b")) if (is.null(items[[column]])) invalid(column, sprintf("required with %s_item", what))
  if (is.null(items$c)) items$c <- 0
  twice <- anyDuplicated(items$item)
  if (twice) invalid("item", sprintf("%s is there twice", dQuote(items$item[[twice]], FALSE)))
  if (any(items$a == 0)) invalid("a", sprintf("element %d is 0, with which b means nothing", which(items$a == 0)[[1]]))
  if (model == "Rasch" && any(items$a != 1)) {
    first <- which(items$a != 1)[[1]]
    invalid("a", sprintf("element %d is %.15g; in the Rasch model a is 1", first, items$a[[first]]))
  }
  items
}

# Learners x items, both in the order of bytes. Items all of whose responses are alike have no finite estimate and are
# left out unless they are fixed; learners whom that leaves without a response go too.
as_matrix <- function(responses, fixed) {
  learners <- sort(unique(responses$learner), method = "radix")
  items <- sort(unique(responses$item), method = "radix")
  if (length(learners) * length(items) > max_cells) {
    irtcommon::fail("model_failed", sprintf(
      "mirt needs all %d x %d cells of learners and items, more than %g: use the native engine",
      length(learners), length(items), max_cells
    ))
  }
  cell <- cbind(match(responses$learner, learners), match(responses$item, items))
  twice <- anyDuplicated(cell)
  if (twice) {
    irtcommon::fail("invalid_field", sprintf(
      "item: element %d is the learner's second response to %s; expected one", twice,
      dQuote(responses$item[[twice]], FALSE)
    ))
  }
  matrix <- matrix(NA_integer_, length(learners), length(items), dimnames = list(learners, items))
  matrix[cell] <- as.integer(responses$correct)
  share <- colMeans(matrix, na.rm = TRUE)
  alike <- share %in% c(0, 1) & !items %in% fixed$item
  matrix <- matrix[, !alike, drop = FALSE]
  silent <- rowSums(!is.na(matrix)) == 0
  list(
    matrix = matrix[!silent, , drop = FALSE],
    exclusions = list(
      all_right = I(items[alike & share == 1]),
      all_wrong = I(items[alike & share == 0]),
      fixed_without_responses = I(setdiff(fixed$item, items)),
      n_learners_without_items = sum(silent)
    )
  )
}

check_size <- function(matrix, fixed) {
  if (ncol(matrix) < 2 || (!nrow(fixed) && max(rowSums(!is.na(matrix))) < 2)) {
    irtcommon::fail("not_enough_data", sprintf(
      "%d items with right and wrong responses, of which a learner answered at most %d; a calibration needs 2",
      ncol(matrix), if (ncol(matrix)) max(rowSums(!is.na(matrix))) else 0L
    ))
  }
}

fit_mirt <- function(matrix, model, weak, fixed, nodes, lower, upper, tolerance, max_iterations, standard_errors) {
  technical <- list(
    theta_lim = c(lower, upper), NCYCLES = max_iterations, customK = rep(2L, ncol(matrix))
  )
  specification <- mirt::mirt.model(paste0("F = 1-", ncol(matrix), prior_terms(weak, colnames(matrix))))
  parameters <- mirt::mirt(matrix, specification, itemtype = model, pars = "values", technical = technical)
  parameters <- fix_items(parameters, fixed)
  mirt::mirt(
    matrix, specification,
    itemtype = model, pars = parameters, quadpts = nodes, TOL = tolerance, technical = technical,
    SE = standard_errors, SE.type = "Oakes", verbose = FALSE
  )
}

fix_items <- function(parameters, fixed) {
  present <- which(fixed$item %in% parameters$item)
  for (i in present) {
    own <- parameters$item == fixed$item[[i]]
    values <- c(a1 = fixed$a[[i]], d = -fixed$a[[i]] * fixed$b[[i]], g = fixed$c[[i]])
    for (name in names(values)) parameters$value[own & parameters$name == name] <- values[[name]]
    parameters$est[own] <- FALSE
    parameters$prior.type[own] <- "none"
  }
  if (length(present)) parameters$est[parameters$name %in% c("MEAN_1", "COV_11")] <- TRUE
  parameters
}

# mirt's own words for priors: its starting values depend on them.
prior_terms <- function(weak, items) {
  if (!length(weak$items) || !length(weak$priors)) {
    return("")
  }
  where <- paste(match(weak$items, items), collapse = ",")
  terms <- vapply(names(weak$priors), function(name) {
    prior <- weak$priors[[name]]
    sprintf("(%s, %s, %s, %.17g, %.17g)", where, name, prior[[1]], prior[[2]], prior[[3]])
  }, "")
  paste0("\nPRIOR = ", paste(terms, collapse = ", "))
}

abilities_of <- function(fit, matrix, nodes, lower, upper) {
  scores <- mirt::fscores(fit,
    method = "EAP", full.scores = TRUE, full.scores.SE = TRUE, quadpts = nodes, theta_lim = c(lower, upper)
  )
  data.frame(
    learner = rownames(matrix), theta = scores[, 1], se = scores[, 2], n_responses = rowSums(!is.na(matrix)),
    row.names = NULL
  )
}

# Parameters of every item as mirt has them, to the last digit.
parameters_of <- function(fit, items) {
  values <- mirt::mod2values(fit)
  take <- function(name) {
    own <- values[values$name == name, ]
    own$value[match(items, own$item)]
  }
  data.frame(item = items, a = take("a1"), d = take("d"), c = take("g"))
}

describe_items <- function(fit, matrix, fixed, errors) {
  parameters <- parameters_of(fit, colnames(matrix))
  b <- -parameters$d / parameters$a
  flat <- which(!is.finite(b))
  if (length(flat)) {
    irtcommon::fail("model_failed", sprintf("item %s has a = 0, so that b means nothing", parameters$item[[flat[[1]]]]))
  }
  own <- match(parameters$item, fixed$item)
  given <- !is.na(own)
  # mirt gives them back within a rounding error or two.
  moved <- given & (abs(parameters$a - fixed$a[own]) + abs(b - fixed$b[own]) + abs(parameters$c - fixed$c[own]) > 1e-9)
  if (any(moved)) stop("mirt moved the fixed item ", parameters$item[moved][[1]])
  parameters[given, c("a", "c")] <- fixed[own[given], c("a", "c")]
  b[given] <- fixed$b[own[given]]
  covariance <- function(one, other) {
    where <- function(parameter) {
      match(paste(parameters$item, parameter), paste(errors$names$item, errors$names$parameter))
    }
    if (is.null(errors)) NA_real_ else errors$matrix[cbind(where(one), where(other))]
  }
  se <- function(parameter) sqrt(positive(covariance(parameter, parameter)))
  data.frame(
    item = parameters$item, a = parameters$a, b = b, c = parameters$c, se_a = se("a"), se_b = se("b"), se_c = se("c"),
    cov_ab = covariance("a", "b"), cov_ac = covariance("a", "c"), cov_bc = covariance("b", "c"), fixed = given,
    n_responses = colSums(!is.na(matrix)), p_value = colMeans(matrix, na.rm = TRUE), row.names = NULL
  )
}

positive <- function(variance) replace(variance, !is.finite(variance) | variance < 0, NA)

# Covariance of a, b, c (and of the latent mean and sd) from that of mirt's a, d, logit c by the delta method.
# NULL where the information matrix could not be inverted.
covariance_of_fit <- function(fit) {
  covariance <- mirt::vcov(fit)
  if (anyNA(covariance)) {
    return(NULL)
  }
  values <- mirt::mod2values(fit)
  values <- values[match(as.integer(sub(".*\\.", "", rownames(covariance))), values$parnum), ]
  parameter <- c(a1 = "a", d = "b", g = "c", MEAN_1 = "mean", COV_11 = "sd")[values$name]
  estimates <- parameters_of(fit, values$item)
  is <- function(name) parameter == name
  scale <- ifelse(is("b"), -1 / estimates$a, ifelse(is("c"), estimates$c * (1 - estimates$c), 1))
  scale[is("sd")] <- 1 / (2 * sqrt(values$value[is("sd")]))
  slope <- match(paste(values$item, "a1"), paste(values$item, values$name))
  by_slope <- ifelse(is("b") & !is.na(slope), estimates$d / estimates$a^2, 0)
  with_slope <- which(by_slope != 0)
  to_abc <- function(matrix) {
    moved <- scale * matrix
    moved[with_slope, ] <- moved[with_slope, , drop = FALSE] + by_slope[with_slope] * matrix[slope[with_slope], ]
    moved
  }
  matrix <- t(to_abc(t(to_abc(unname(covariance)))))
  list(matrix = matrix, names = data.frame(item = values$item, parameter = unname(parameter)))
}

describe_latent <- function(fit, errors) {
  values <- mirt::mod2values(fit)
  value <- function(name) values$value[values$name == name]
  se <- function(parameter) {
    variance <- diag(errors$matrix)[errors$names$parameter == parameter]
    if (length(variance)) sqrt(positive(variance)) else NA_real_
  }
  known <- !is.null(errors)
  list(
    mean = value("MEAN_1"), sd = sqrt(value("COV_11")),
    se_mean = if (known) se("mean") else NA_real_, se_sd = if (known) se("sd") else NA_real_
  )
}

# Mean squares (Wright and Masters, 1982) at the EAP; S-X2 (Orlando and Thissen, 2000) needs complete responses.
item_fit_of <- function(fit, matrix, theta) {
  statistics <- mirt::itemfit(fit, fit_stats = "infit", Theta = as.matrix(theta))
  found <- data.frame(
    infit = statistics$infit, outfit = statistics$outfit, s_x2 = NA_real_, s_x2_df = NA_real_, s_x2_p = NA_real_
  )
  if (!anyNA(matrix)) {
    s_x2 <- mirt::itemfit(fit, fit_stats = "S_X2")
    found[c("s_x2", "s_x2_df", "s_x2_p")] <- s_x2[c("S_X2", "df.S_X2", "p.S_X2")]
  }
  found[] <- lapply(found, function(column) replace(column, !is.finite(column), NA))
  found
}
