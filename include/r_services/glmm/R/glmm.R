# Growth of a cohort: a binomial mixed model of answers by learner, topic, item and week.

answer_columns <- c("learner", "topic", "week", "correct", "answers")

coefficient_names <- c(
  "intercept", "slope", "intercept_variance", "slope_variance", "covariance", "topics", "topic_effects", "items",
  "item_effects"
)

# Penalised iterations of one deviance end when it changes by less than this share. lme4's own 1e-7 leaves a noise of
# 0.01 in the deviance of 100,000 answers: the optimiser then takes twice the steps and its gradient check fails.
tolerance_pirls <- 1e-10

# Weeks enter the fit in tens and leave it single: with a slope about as large as the intercept the optimiser ends
# where lme4's gradient check wants it.
week_unit <- 10

#' Fit growth with crossed random effects
#'
#' `correct` out of `answers` is binomial with logit link, and the log-odds are
#' `week + (week | learner) + (1 | topic) + (1 | item)` plus the offset: maximum likelihood by the Laplace
#' approximation (`lme4::glmer` with `nAGQ = 1` and the optimiser `nloptwrap`; Bates et al., 2015).
#'
#' @param rows A data.frame: `learner`, `topic` (texts), `week` (number), `correct`, `answers` (whole numbers, correct
#'   at most answers), and optionally `item` (text; `(1 | item)` is then in the model) and `offset` (log-odds, entered
#'   with coefficient 1).
#' @param level Confidence level of the Wald intervals.
#' @param progress `function(fraction, note)`; the note counts evaluations of the deviance. How many a fit needs is not
#'   known beforehand, so the fraction is `NA`.
#' @return A list: `formula`, sizes, `converged`, `singular`, `messages` (lme4's own), `optimizer`, `fixed` (term,
#'   estimate, se, z, p, lower, upper), `random` (group, term, sd, correlation with the intercept), `topics` (topic,
#'   effect: conditional mode, se: conditional sd, n: answers), `coefficients` as `predict_glmm()` takes them,
#'   `log_likelihood`, `aic`, `bic`, `engine_versions`. Weeks are single ones throughout.
#' @export
fit_glmm <- function(rows, level = 0.95, progress = function(fraction, note) invisible()) {
  check_answers(rows)
  rows <- as_design(rows)
  check_size(rows)
  rows$week <- rows$week / week_unit
  formula <- growth_formula(rows)
  messages <- character()
  progress(NA, sprintf("%d rows", nrow(rows)))
  control <- lme4::glmerControl(optimizer = counted_nloptwrap(progress), tolPwrss = tolerance_pirls)
  fit <- tryCatch(
    withCallingHandlers(
      lme4::glmer(formula, data = rows, family = stats::binomial, control = control),
      message = function(message) {
        messages <<- c(messages, trimws(conditionMessage(message)))
        invokeRestart("muffleMessage")
      }
    ),
    error = function(error) irtcommon::fail("model_failed", paste("lme4:", conditionMessage(error)))
  )
  progress(NA, "effects of topics")
  describe_fit(fit, rows, formula, unique(messages), level)
}

check_answers <- function(rows) {
  wrong <- which(rows$correct > rows$answers)
  if (length(wrong)) {
    first <- wrong[[1]]
    irtcommon::fail("invalid_field", sprintf(
      "correct: element %d is %d; expected at most answers, which is %d there",
      first, rows$correct[[first]], rows$answers[[first]]
    ))
  }
}

# Factors have their levels in the order of bytes, whatever the locale: the order of levels decides the last digits.
as_design <- function(rows) {
  for (name in intersect(c("learner", "topic", "item"), names(rows))) {
    text <- as.character(rows[[name]])
    rows[[name]] <- factor(text, levels = sort(unique(text), method = "radix"))
  }
  rows
}

check_size <- function(rows) {
  counts <- c(
    learners = nlevels(rows$learner),
    weeks = length(unique(rows$week)),
    topics = nlevels(rows$topic),
    items = if (is.null(rows$item)) NA else nlevels(rows$item)
  )
  few <- counts[!is.na(counts) & counts < 2]
  if (length(few)) {
    irtcommon::fail("not_enough_data", sprintf("%d %s; the model needs at least 2", few[[1]], names(few)[[1]]))
  }
  if (nrow(rows) <= max(2 * counts[["learners"]], counts, na.rm = TRUE)) {
    irtcommon::fail("not_enough_data", sprintf(
      "%d rows for two effects of each of %d learners; the model needs more rows than effects",
      nrow(rows), counts[["learners"]]
    ))
  }
  share <- sum(rows$correct) / sum(rows$answers)
  if (share %in% c(0, 1)) {
    irtcommon::fail("not_enough_data", sprintf(
      "all %d answers are %s; the model needs both kinds", sum(rows$answers), if (share == 1) "right" else "wrong"
    ))
  }
}

growth_formula <- function(rows) {
  terms <- c("week", "(week | learner)", "(1 | topic)")
  if (!is.null(rows$item)) terms <- c(terms, "(1 | item)")
  if (!is.null(rows$offset)) terms <- c(terms, "offset(offset)")
  stats::as.formula(paste("cbind(correct, answers - correct) ~", paste(terms, collapse = " + ")), env = globalenv())
}

# The optimiser of lme4 that tells how often it has evaluated the deviance.
counted_nloptwrap <- function(progress) {
  stage <- 0L
  function(fn, par, lower, upper, control = list(), ...) {
    stage <<- stage + 1L
    evaluations <- 0L
    told <- -Inf
    counted <- function(x) {
      deviance <- fn(x)
      evaluations <<- evaluations + 1L
      now <- proc.time()[["elapsed"]]
      if (now - told >= 1) {
        told <<- now
        progress(NA, sprintf("stage %d of 2, evaluation %d: deviance %.3f", stage, evaluations, deviance))
      }
      deviance
    }
    lme4::nloptwrap(par = par, fn = counted, lower = lower, upper = upper, control = control, ...)
  }
}

describe_fit <- function(fit, rows, formula, messages, level) {
  singular <- lme4::isSingular(fit)
  complaints <- unlist(fit@optinfo$conv$lme4$messages)
  list(
    formula = paste(deparse(formula, width.cutoff = 500), collapse = " "),
    n_rows = nrow(rows),
    n_answers = sum(rows$answers),
    n_learners = nlevels(rows$learner),
    n_topics = nlevels(rows$topic),
    n_items = if (is.null(rows$item)) NA else nlevels(rows$item),
    converged = fit@optinfo$conv$opt == 0 && !any(grepl("fail|unable|unidentifiable", complaints)),
    singular = singular,
    messages = I(union(as.character(complaints), messages)),
    optimizer = list(
      name = "nloptwrap", evaluations = fit@optinfo$feval, tolPwrss = tolerance_pirls, week_unit = week_unit
    ),
    fixed = describe_fixed(fit, level),
    random = describe_random(fit),
    topics = describe_topics(fit, rows),
    coefficients = coefficients_of(fit),
    log_likelihood = as.numeric(stats::logLik(fit)),
    aic = stats::AIC(fit),
    bic = stats::BIC(fit),
    engine_versions = list(R = format(getRversion()), lme4 = getNamespaceVersion("lme4")[[1]])
  )
}

describe_fixed <- function(fit, level) {
  unit <- ifelse(names(lme4::fixef(fit)) == "week", week_unit, 1)
  estimate <- lme4::fixef(fit) / unit
  variance <- diag(as.matrix(stats::vcov(fit)))
  se <- sqrt(replace(variance, !is.finite(variance) | variance < 0, NA)) / unit
  z <- estimate / se
  half <- stats::qnorm((1 + level) / 2) * se
  data.frame(
    term = names(estimate), estimate = estimate, se = se, z = z, p = 2 * stats::pnorm(-abs(z)),
    lower = estimate - half, upper = estimate + half, row.names = NULL
  )
}

describe_random <- function(fit) {
  variances <- as.data.frame(lme4::VarCorr(fit))
  sds <- variances[is.na(variances$var2), ]
  correlations <- variances[!is.na(variances$var2), ]
  data.frame(
    group = sds$grp, term = sds$var1, sd = sds$sdcor / ifelse(sds$var1 == "week", week_unit, 1),
    correlation = correlations$sdcor[match(paste(sds$grp, sds$var1), paste(correlations$grp, correlations$var2))]
  )
}

describe_topics <- function(fit, rows) {
  effects <- lme4::ranef(fit, condVar = TRUE, whichel = "topic")$topic
  data.frame(
    topic = rownames(effects), effect = effects[[1]], se = sqrt(as.vector(attr(effects, "postVar"))),
    n = as.vector(tapply(rows$answers, rows$topic, sum)[rownames(effects)])
  )
}

coefficients_of <- function(fit) {
  fixed <- lme4::fixef(fit)
  between <- unclass(lme4::VarCorr(fit)$learner)
  effects <- lme4::ranef(fit, condVar = FALSE)
  values <- list(
    intercept = fixed[["(Intercept)"]],
    slope = fixed[["week"]] / week_unit,
    intercept_variance = between[1, 1],
    slope_variance = between[2, 2] / week_unit^2,
    covariance = between[1, 2] / week_unit,
    topics = I(rownames(effects$topic)),
    topic_effects = I(effects$topic[[1]])
  )
  if (!is.null(effects$item)) {
    values <- c(values, list(items = I(rownames(effects$item)), item_effects = I(effects$item[[1]])))
  }
  values
}
