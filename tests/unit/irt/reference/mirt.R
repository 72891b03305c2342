# Reference values by R mirt 1.45.1 that ../shared/data/reference lacks. Run in this folder:
#   Rscript mirt.R ../../../../../shared/data/reference
# A beta prior of c is not among the cases: mirt 1.45.1 takes the gradient of "expbeta" with respect to c where that
# of its logit is due, and its default optimizer (BFGS) then stops away from the maximum. Nor are its standard errors
# under priors, which differ from the second derivatives of the log-posterior.
library(mirt)

folder <- commandArgs(trailingOnly = TRUE)[1]
read_responses <- function(name) read.csv(file.path(folder, paste0(name, "_responses.csv")))
fit <- function(...) mirt(..., quadpts = 61, TOL = 1e-9, technical = list(NCYCLES = 20000), verbose = FALSE)

item_rows <- function(case, dataset, model, parameters) {
  values <- coef(parameters, IRTpars = TRUE, printSE = TRUE)
  values <- values[setdiff(names(values), "GroupPars")]
  se <- function(x, column) if ("SE" %in% rownames(x)) x["SE", column] else NA
  data.frame(
    case, dataset, model, item_id = names(values),
    a = sapply(values, function(x) x["par", "a"]), b = sapply(values, function(x) x["par", "b"]),
    c = sapply(values, function(x) x["par", "g"]),
    se_a = sapply(values, se, "a"), se_b = sapply(values, se, "b"), se_c = sapply(values, se, "g"),
    row.names = NULL
  )
}
fit_row <- function(case, m, groups) {
  group_parameters <- function(name, at) {
    values <- coef(m)
    if (!is.null(values$GroupPars)) values <- list(values)
    sapply(values, function(g) g$GroupPars["par", at])
  }
  data.frame(
    case, group = groups, log_likelihood = extract.mirt(m, "logLik"),
    mean = group_parameters("mean", 1), variance = group_parameters("variance", 2), row.names = NULL
  )
}

items <- fits <- list()
for (dataset in c("lsat6", "lsat7", "sat12")) {
  responses <- read_responses(dataset)
  n <- ncol(responses)
  priors <- sprintf("F = 1-%d\nPRIOR = (1-%d, a1, lnorm, 0, 0.5), (1-%d, g, norm, -1.1, 0.5)", n, n, n)
  m <- fit(responses, mirt.model(priors), "3PL")
  case <- paste("3PL", dataset)
  items[[case]] <- item_rows(case, dataset, "3PL", m)
  fits[[case]] <- fit_row(case, m, "all")
}

# Two groups of examinees, by their score on the first eight items.
sat12 <- read_responses("sat12")
group <- ifelse(rowSums(sat12[, 1:8]) >= 5, "high", "low")
for (model in c("2PL", "Rasch")) {
  free <- c("free_means", "free_var", colnames(sat12))
  m <- multipleGroup(
    sat12, 1, itemtype = model, group = group, invariance = free, quadpts = 61, TOL = 1e-9, SE = TRUE,
    SE.type = "Oakes", technical = list(NCYCLES = 20000), verbose = FALSE
  )
  case <- paste("groups", model)
  one <- coef(m, IRTpars = TRUE, printSE = TRUE)[[1]]
  one <- one[setdiff(names(one), "GroupPars")]
  items[[case]] <- data.frame(
    case, dataset = "sat12", model, item_id = names(one), a = sapply(one, function(x) x["par", "a"]),
    b = sapply(one, function(x) x["par", "b"]), c = 0,
    se_a = sapply(one, function(x) if ("SE" %in% rownames(x)) x["SE", "a"] else NA),
    se_b = sapply(one, function(x) if ("SE" %in% rownames(x)) x["SE", "b"] else NA), se_c = NA, row.names = NULL
  )
  fits[[case]] <- fit_row(case, m, names(coef(m)))
}

# The first sixteen items keep the values of the whole test's calibration; the others, mean and variance are estimated
# from the examinees of the lower group.
whole <- fit(sat12, 1, "2PL")
values <- mod2values(whole)
values$est[values$item %in% colnames(sat12)[1:16]] <- FALSE
values$est[values$name %in% c("MEAN_1", "COV_11")] <- TRUE
m <- fit(sat12[group == "low", ], 1, "2PL", pars = values, SE = TRUE, SE.type = "Oakes")
items[["fixed 2PL"]] <- item_rows("fixed 2PL", "sat12", "2PL", m)
fits[["fixed 2PL"]] <- fit_row("fixed 2PL", m, "all")

abilities <- list()
for (model in c("2PL", "Rasch")) {
  m <- fit(sat12, 1, model)
  for (method in c("MAP", "WLE")) {
    scores <- fscores(m, method = method, full.scores.SE = TRUE)[1:100, ]
    abilities[[paste(model, method)]] <- data.frame(
      model, method, person = 1:100, theta = scores[, 1], se = scores[, 2], row.names = NULL
    )
  }
}

save <- function(frames, name) {
  write.csv(do.call(rbind, frames), name, row.names = FALSE, quote = FALSE, na = "")
}
save(items, "mirt_items.csv")
save(fits, "mirt_fits.csv")
save(abilities, "mirt_abilities.csv")
