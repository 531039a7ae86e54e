// What techniques and statistics mean, in words for whoever is on call.

/** What an attacker is after. */
export const TECHNIQUES = {
  evasion: { name: "Evasion", meaning: "searching for inputs that the model gets wrong" },
  extraction: { name: "Extraction", meaning: "asking enough to train a copy of the model" },
  membership: { name: "Membership inference", meaning: "probing who was in the training data" },
  inversion: { name: "Inversion", meaning: "rebuilding what the training data looked like" },
};

const NEAR = {
  closeness: ["Closer than a sensor's noise", "near rows that close in on each other, as a search does at a boundary"],
  selection: ["Goes on from the better answers", "near rows that follow up those whose answers moved, and drop the others"],
  shape: ["Unlike any camera's rows", "near rows that lie in fewer directions than noise, and in more than a moving camera's"],
  steps: ["Uneven steps", "near rows in large steps and then in small ones, as no camera takes them"],
  order: ["Unusual order", "near rows that go on from earlier ones, neither at random nor along a path"],
};

const GRAPHS = { query_provenance: "by fingerprint", pooled_provenance: "by content" };

const STATISTICS = {
  ...nearRows("", ""),
  ...nearRows("spread_", ", over several callers"),
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
  "hardness.pooled_margins": ["All callers: unusual certainty", "all callers' rows together are easier, or harder, than usual"],
  "hardness.pooled_entropies": ["All callers: unusual spread", "all callers' answers together are spread unlike usual ones"],
  "hardness.pooled_embedding": ["All callers: other kind of data", "all callers' rows together are unlike the usual ones"],
  "extraction_monitor.budget": ["Rows spent", "more distinct rows than a customer asks for"],
};

/** What is read off near rows of either graph, with the prefix of the statistics' names. */
function nearRows(prefix, whose) {
  const entries = Object.entries(GRAPHS).flatMap(([detector, by]) =>
    Object.entries(NEAR).map(([what, [name, meaning]]) => [`${detector}.${prefix}${what}`, [`${name} (${by})`, meaning + whose]]),
  );
  return Object.fromEntries(entries);
}

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
