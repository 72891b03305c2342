# Growth of a cohort: a binomial mixed model of answers by learner, topic, item and week.

answer_columns <- c("learner", "topic", "week", "correct", "answers")

coefficient_names <- c(
  "intercept", "slope", "intercept_variance", "slope_variance", "covariance", "topics", "topic_effects", "items",
  "item_effects"
)

# Penalised iterations end when the deviance changes by less than this share (lme4's own: 1e-7).
tolerance_pirls <- 1e-10

# Weeks enter the fit in tens and leave it single: with a slope about as large as the intercept the optimiser ends
# where lme4's gradient check wants it.
week_unit <- 10

#' Fit growth with crossed random effects
#'
#' `correct` out of `answers` is binomial with logit link, and the log-odds are
#' `week + (week | learner) + (1 | topic) + (1 | item)` plus the offset: maximum likelihood by the Laplace
#' approximation (`lme4::glmer` with `nAGQ = 1`; Bates et al., 2015), maximised to the last digits.
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
  fit <- tryCatch(
    withCallingHandlers(
      maximise(formula, rows, progress),
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

# What lme4::glmer does with nAGQ = 1 and nAGQ0initStep = FALSE, step by step (?lme4::modular), but for the deviance.
maximise <- function(formula, rows, progress) {
  control <- lme4::glmerControl(tolPwrss = tolerance_pirls)
  model <- lme4::glFormula(formula, data = rows, family = stats::binomial, control = control)
  deviance <- do.call(lme4::mkGlmerDevfun, c(model, list(control = control)))
  deviance <- to_the_mode(lme4::updateGlmerDevfun(deviance, model$reTrms))
  end <- lme4::optimizeGlmer(deviance, optimizer = to_the_end(progress), stage = 2)
  state <- environment(deviance)
  checks <- lme4::checkConv(attr(end, "derivs"), end$par, control$checkConv, state$lower)
  lme4::mkMerMod(state, end, model$reTrms, model$fr, match.call(), checks)
}

# A deviance of lme4 computed once more from where its penalised iterations have ended. One computation ends with the
# curvature of the last mode but one, and by a rule: the deviance then jumps where the rule asks for one iteration more,
# by 1e-5 even at a tolerance of 1e-13. Optimisers end at such jumps, and second differences across them are wrong.
# Where lme4 starts near the mode they miss how it moves, and standard errors come out up to 0.6 % too small.
to_the_mode <- function(deviance) {
  state <- environment(deviance)
  state$once <- deviance
  twice <- function(parameters) {
    state <- parent.env(environment())
    state$once(parameters)
    state$lp0 <- state$resp$eta - state$baseOffset
    state$once(parameters)
  }
  environment(twice) <- state
  twice
}

# lme4's nloptwrap, then Newton steps to where the deviance is flat. nloptwrap alone ends 0.01 standard errors off and
# less, where exactly depending on the rounding of sums.
to_the_end <- function(progress) {
  function(fn, par, lower, upper, control = list(), ...) {
    evaluations <- 0L
    told <- -Inf
    counted <- function(x) {
      deviance <- fn(x)
      evaluations <<- evaluations + 1L
      now <- proc.time()[["elapsed"]]
      if (now - told >= 1) {
        told <<- now
        progress(NA, sprintf("evaluation %d: deviance %.3f", evaluations, deviance))
      }
      deviance
    }
    end <- lme4::nloptwrap(par = par, fn = counted, lower = lower, upper = upper, control = control, ...)
    end$par <- newton_steps(counted, end$par, lower)
    end$fval <- counted(end$par)
    end$feval <- evaluations
    progress(NA, sprintf("%d evaluations; lme4 checks the maximum", evaluations))
    end
  }
}

# Steps by differences of the deviance and its curvature at the first point, until one is shorter than 1e-7 standard
# errors; what lies at its bound stays there. Where the deviance is no bowl, or a step is longer than a standard error,
# the optimiser's own end is returned, of which lme4's checks complain.
newton_steps <- function(fn, par, lower, delta = 1e-4) {
  inner <- which(par > lower + 2 * delta)
  at <- function(x) fn(replace(par, inner, x))
  gradient <- function(x) {
    vapply(seq_along(x), function(i) {
      shift <- replace(numeric(length(x)), i, delta)
      (at(x + shift) - at(x - shift)) / (2 * delta)
    }, 0)
  }
  x <- par[inner]
  slope <- gradient(x)
  hessian <- vapply(seq_along(x), function(i) {
    (gradient(replace(x, i, x[[i]] + delta)) - slope) / delta
  }, numeric(length(x)))
  root <- tryCatch(chol((hessian + t(hessian)) / 2), error = function(error) NULL)
  if (is.null(root)) {
    return(par)
  }
  for (i in 1:10) {
    step <- as.vector(chol2inv(root) %*% slope)
    length <- max(abs(step) * sqrt(colSums(root^2) / 2))
    if (length > 1) {
      return(par)
    }
    x <- pmax(x - step, lower[inner])
    if (length < 1e-7) break
    slope <- gradient(x)
  }
  replace(par, inner, x)
}

# Whether this process is one in which lme4 factors by approximate minimum degree (AMD), as it is meant to.
#
# lme4 1.1-31 has CHOLMOD's settings as RcppEigen 0.3.3 declares them. Its error handler lies 8 bytes further down there
# than in Matrix 1.5, and so its address is where Matrix looks how many orderings to try (`nmethods`). By the address,
# which is another in each process, that is AMD alone (a negative number) or all of them, of which it may take the
# natural one. Sums then round differently, and standard errors differ by up to 3e-4 of themselves. In the case here the
# natural one is taken where it is tried.
factors_by_amd <- function() {
  rows <- expand.grid(learner = factor(1:50), item = factor(1:10), week = 0:1)
  rows$topic <- factor(as.integer(rows$item) %% 5)
  rows$y <- as.integer(rows$learner) %% 2
  model <- lme4::lFormula(y ~ week + (week | learner) + (1 | topic) + (1 | item), rows)
  ordering(environment(do.call(lme4::mkLmerDevfun, model))$pp$L()) == "AMD"
}

ordering <- function(factor) if (factor@type[[1]] == 2) "AMD" else "natural"

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
      name = "nloptwrap, Newton", evaluations = fit@optinfo$feval, tolPwrss = tolerance_pirls, week_unit = week_unit,
      ordering = ordering(lme4::getME(fit, "L"))
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
  correlations$sdcor[is.nan(correlations$sdcor)] <- NA # of an effect that does not vary
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
