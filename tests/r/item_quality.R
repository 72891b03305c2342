# Item and person statistics of R's mirt: Rscript item_quality.R responses.csv folder
suppressMessages(library(mirt))
arguments <- commandArgs(trailingOnly = TRUE)
responses <- read.csv(arguments[1])
save <- function(frame, name) write.csv(frame, file.path(arguments[2], name), row.names = FALSE)

for (model in c("2PL", "3PL")) {
  priors <- sprintf("F = 1-%d\nPRIOR = (1-%d, g, norm, -1.1, 0.5)", ncol(responses), ncol(responses))
  m <- mirt(
    responses, if (model == "3PL") mirt.model(priors) else 1, model,
    quadpts = 61, verbose = FALSE
  )
  items <- coef(m, IRTpars = TRUE, simplify = TRUE)$items
  fit <- itemfit(m)
  save(data.frame(item_id = rownames(items), items, fit[, c("S_X2", "df.S_X2", "p.S_X2")]), paste0(model, "_items.csv"))
  theta <- fscores(m, quadpts = 61, full.scores.SE = TRUE)
  save(data.frame(theta = theta[, 1], se = theta[, 2], Zh = personfit(m, Theta = theta[, 1, drop = FALSE])$Zh),
       paste0(model, "_persons.csv"))
  q3 <- residuals(m, type = "Q3", Theta = theta[, 1, drop = FALSE], verbose = FALSE)
  save(as.data.frame(unclass(q3)), paste0(model, "_q3.csv"))
  save(data.frame(
    marginal = marginal_rxx(m), empirical = empirical_rxx(theta),
    at_zero = testinfo(m, matrix(0)), at_two = testinfo(m, matrix(2))
  ), paste0(model, "_reliability.csv"))
}
