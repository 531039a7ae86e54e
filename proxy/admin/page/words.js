// What techniques and statistics mean, in words for whoever is on call.

/** What an attacker is after. */
export const TECHNIQUES = {
  evasion: { name: "Evasion", meaning: "searching for inputs that the model gets wrong" },
  extraction: { name: "Extraction", meaning: "asking enough to train a copy of the model" },
  membership: { name: "Membership inference", meaning: "probing who was in the training data" },
  inversion: { name: "Inversion", meaning: "rebuilding what the training data looked like" },
};

const STATISTICS = {
  "query_provenance.novelty": [
    "Near-copies, by fingerprint",
    "many rows that are near-copies of each other, growing as a search does",
  ],
  "pooled_provenance.novelty": [
    "Near rows, by content",
    "rows that huddle together as in a search, even through noise or brightness",
  ],
  "search_progress.climb": ["Confidence climbs", "near rows whose confidence rises step by step"],
  "search_progress.fall": ["Confidence falls", "near rows whose confidence falls step by step, towards a wrong answer"],
  "search_progress.neighbourhoods": [
    "Many neighbourhoods probed",
    "several near rows around each of many starting points",
  ],
  "distance_distribution.non_normality": [
    "Unnatural distances",
    "rows that lie apart as made-up ones do, not as samples of real data",
  ],
  "hardness.margins": ["Unusual certainty", "rows that the model is more, or less, sure of than of usual ones"],
  "hardness.entropies": ["Unusual spread of answers", "answers that are spread over the classes unlike usual ones"],
  "hardness.embedding": ["Other kind of data", "rows that look unlike what this model is usually asked"],
  "extraction_monitor.budget": ["Rows spent", "more distinct rows than a customer asks for"],
};

/** { name, meaning } of a statistic; one of an operator's own has its own name only. */
export function statistic(id) {
  const [name, meaning] = STATISTICS[id] ?? [id, ""];
  return { name, meaning };
}

const whole = new Intl.NumberFormat("en");
const long = new Intl.NumberFormat("en", { notation: "compact", compactDisplay: "long", maximumSignificantDigits: 1 });

/** How many benign callers show so many decades of surprise: "1 benign caller in 4,000". */
export function odds(decades) {
  if (!Number.isFinite(decades) || decades < 0.5) return "many benign callers";
  if (decades >= 9) return "fewer than 1 benign caller in a billion";
  const callers = Number((10 ** decades).toPrecision(1));
  return `1 benign caller in ${callers < 1e6 ? whole.format(callers) : long.format(callers)}`;
}

/** How sure, in a word; the ladder's usual steps begin at 2, 3, 5 and 8 decades. */
export function sureness(decades) {
  if (decades >= 8) return "as good as certain";
  if (decades >= 5) return "very likely";
  if (decades >= 3) return "likely";
  return decades >= 2 ? "suspicious" : "weak";
}

/** What a subject is, as in "a group of callers". */
export const KINDS = { caller: "caller", group: "group of callers", cluster: "cluster of near rows" };
