// The messages of querier.v1 as they stand in JSON: 64-bit numbers are strings, empty fields are left out.

import type { FlameGraphMessage } from "../profile/tree";

export interface ProfileType {
  ID: string;
  name: string;
  sampleType: string;
  sampleUnit: string;
  periodType: string;
  periodUnit: string;
}

export interface LabelPair {
  name: string;
  value?: string;
}

export interface ProfileTypesResponse {
  profileTypes?: Partial<ProfileType>[];
}

export interface SeriesResponse {
  labelsSet?: { labels?: LabelPair[] }[];
}

export interface NamesResponse {
  names?: string[];
}

export interface SelectSeriesResponse {
  series?: { labels?: LabelPair[]; points?: { value?: number; timestamp?: string | number }[] }[];
}

export interface StacktracesResponse {
  flamegraph?: FlameGraphMessage;
}
