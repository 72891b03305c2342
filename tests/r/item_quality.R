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

# Groups by row, matched by sum score.
right <- sapply(responses, as.integer)
score <- rowSums(right)
group <- seq_len(nrow(right)) %% 2
rows <- lapply(colnames(right), function(name) {
  x <- right[, name]
  tables <- table(factor(group, 1:0), factor(x, 1:0), score)
  # A stratum of one learner, which R refuses, says nothing.
  test <- mantelhaen.test(tables[, , apply(tables, 3, sum) > 1], correct = FALSE)
  fits <- lapply(c(x ~ 1, x ~ score, x ~ score + group, x ~ score * group), glm, family = binomial)
  deviances <- sapply(fits, deviance)
  r2 <- (1 - exp((deviances - deviances[1]) / length(x))) / (1 - exp(-deviances[1] / length(x)))
  data.frame(
    item_id = name, log_odds = log(test$estimate), se = diff(log(test$conf.int)) / 2 / qnorm(0.975),
    p = test$p.value, effect = coef(fits[[3]])["group"],
    effect_se = sqrt(diag(vcov(fits[[3]])))["group"],
    p_uniform = pchisq(deviances[2] - deviances[3], 1, lower.tail = FALSE),
    p_nonuniform = pchisq(deviances[3] - deviances[4], 1, lower.tail = FALSE),
    p_both = pchisq(deviances[2] - deviances[4], 2, lower.tail = FALSE),
    r2_change = r2[4] - r2[2], row.names = NULL
  )
})
save(do.call(rbind, rows), "groups.csv")
