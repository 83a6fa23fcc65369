// The box for label matchers, with names and values of the data offered while one types.

import { useEffect, useRef, useState } from "preact/hooks";
import { labelNames, labelValues } from "../api/querier";
import { completionAt, type Completion } from "../state/completion";
import { parseSelector } from "../state/selector";
import type { Interval } from "../state/time";
import { CloseIcon, FilterIcon } from "./icons";

interface Props {
  value: string;
  service: string;
  interval: Interval;
  onApply: (filter: string) => void;
}

export function LabelFilter({ value, service, interval, onApply }: Props) {
  const [text, setText] = useState(value);
  const [offers, setOffers] = useState<Completion[]>([]);
  const [active, setActive] = useState(-1);
  const [focused, setFocused] = useState(false);
  const input = useRef<HTMLInputElement>(null);
  useEffect(() => setText(value), [value]);

  const parsed = parseSelector(text);
  useEffect(() => {
    if (!focused) return setOffers([]);
    const controller = new AbortController();
    const values = (name: string) => labelValues(name, service === "" ? [] : [{ name: "service_name", op: "=", value: service }], interval, controller.signal);
    completionAt(text, () => labelNames(interval, controller.signal), values).then(
      (found) => {
        if (controller.signal.aborted) return;
        setOffers(found.slice(0, 12));
        setActive(-1);
      },
      () => setOffers([]),
    );
    return () => controller.abort();
  }, [text, focused, service]);

  const apply = (next: string) => {
    if (parseSelector(next).ok && next !== value) onApply(next);
  };
  const take = ({ text: next, complete }: Completion) => {
    setText(next);
    if (complete) apply(next);
    input.current?.focus();
  };
  const onKey = (event: KeyboardEvent) => {
    const offer = offers[active];
    if (event.key === "ArrowDown" && offers.length > 0) setActive((active + 1) % offers.length);
    else if (event.key === "ArrowUp" && offers.length > 0) setActive((active + offers.length - 1) % offers.length);
    else if ((event.key === "Enter" || event.key === "Tab") && offer) take(offer);
    else if (event.key === "Enter") apply(text);
    else if (event.key === "Escape") return input.current?.blur();
    else return;
    event.preventDefault();
  };
  return (
    <div class="label-filter">
      <FilterIcon />
      <input
        ref={input}
        type="text"
        role="combobox"
        aria-label="Label filter"
        aria-expanded={offers.length > 0}
        aria-controls="label-offers"
        aria-activedescendant={active >= 0 ? `label-offer-${active}` : undefined}
        aria-invalid={!parsed.ok}
        autocomplete="off"
        spellcheck={false}
        placeholder="Filter by labels"
        title={'Matchers as comm="worker", cgroup=~"/user.*", node!="db1"'}
        value={text}
        onInput={(event) => setText(event.currentTarget.value)}
        onFocus={() => setFocused(true)}
        onBlur={() => {
          setFocused(false);
          apply(text);
        }}
        onKeyDown={onKey}
      />
      {text !== "" && (
        <button type="button" class="clear" aria-label="Clear the label filter" onClick={() => { setText(""); onApply(""); }}>
          <CloseIcon />
        </button>
      )}
      {!parsed.ok && <p class="filter-error" role="alert">{parsed.message}</p>}
      {focused && offers.length > 0 && (
        <ul class="offers" id="label-offers" role="listbox">
          {offers.map((offer, i) => (
            <li key={offer.text} id={`label-offer-${i}`} role="option" aria-selected={i === active} onPointerDown={(event) => { event.preventDefault(); take(offer); }}>
              {offer.label}
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}
