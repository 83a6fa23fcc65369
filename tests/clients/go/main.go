// Strangers in one program, made of the protocols' own generated Go code and the SDK:
//
//	clients query URL SELECTOR FROM_MS UNTIL_MS PROTOCOL   asks a server, and compares its answers with each other
//	clients push URL SERVICE PROTOCOL                      pushes one profile; PROTOCOL is proto, json, grpc or grpc-web
//	clients export URL SERVICE PROTOCOL                    the same by OpenTelemetry's messages: proto, json or grpc
//	clients sdk URL SERVICE SECONDS                        profiles itself
//	clients receive ADDRESS                                is a server that only receives; prints a line of JSON a profile
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"

	"connectrpc.com/connect"
	googlev1 "github.com/grafana/pyroscope/api/gen/proto/go/google/v1"
	querierv1 "github.com/grafana/pyroscope/api/gen/proto/go/querier/v1"
	"github.com/grafana/pyroscope/api/gen/proto/go/querier/v1/querierv1connect"
	typesv1 "github.com/grafana/pyroscope/api/gen/proto/go/types/v1"
)

const cpu = "process_cpu:cpu:nanoseconds:cpu:nanoseconds"

func main() {
	var err error
	switch {
	case len(os.Args) == 7 && os.Args[1] == "query":
		err = query(os.Args[2], os.Args[3], os.Args[4], os.Args[5], os.Args[6])
	case len(os.Args) == 5 && os.Args[1] == "push":
		err = push(os.Args[2], os.Args[3], os.Args[4])
	case len(os.Args) == 5 && os.Args[1] == "export":
		err = export(os.Args[2], os.Args[3], os.Args[4])
	case len(os.Args) == 5 && os.Args[1] == "sdk":
		err = sdk(os.Args[2], os.Args[3], os.Args[4])
	case len(os.Args) == 3 && os.Args[1] == "receive":
		err = receive(os.Args[2])
	default:
		err = fmt.Errorf("usage: clients query|push|export|sdk|receive ARGUMENT…")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// Every way to ask for the same thing must give the same sum.
type answers struct {
	ProfileTypes []string            `json:"profile_types"`
	LabelNames   []string            `json:"label_names"`
	Services     []string            `json:"services"`
	Series       []map[string]string `json:"series"`
	Functions    []string            `json:"functions"`
	MergeTotal   int64               `json:"merge_total"`
	FlameTotal   int64               `json:"flame_total"`
	FlameSelf    int64               `json:"flame_self"`
	SeriesTotal  float64             `json:"series_total"`
	N            int                 `json:"n_samples"`
}

func query(url, selector, from, until, codec string) error {
	start, err := strconv.ParseInt(from, 10, 64)
	if err != nil {
		return err
	}
	end, err := strconv.ParseInt(until, 10, 64)
	if err != nil {
		return err
	}
	doer, options := transport(codec)
	client := querierv1connect.NewQuerierServiceClient(doer, url, options...)
	ctx := context.Background()
	var out answers

	types, err := client.ProfileTypes(ctx, connect.NewRequest(&querierv1.ProfileTypesRequest{Start: start, End: end}))
	if err != nil {
		return fmt.Errorf("ProfileTypes: %w", err)
	}
	for _, t := range types.Msg.ProfileTypes {
		out.ProfileTypes = append(out.ProfileTypes, t.ID)
	}
	names, err := client.LabelNames(ctx, connect.NewRequest(&typesv1.LabelNamesRequest{Start: start, End: end}))
	if err != nil {
		return fmt.Errorf("LabelNames: %w", err)
	}
	out.LabelNames = names.Msg.Names
	values, err := client.LabelValues(ctx, connect.NewRequest(&typesv1.LabelValuesRequest{Name: "service_name", Start: start, End: end}))
	if err != nil {
		return fmt.Errorf("LabelValues: %w", err)
	}
	out.Services = values.Msg.Names
	series, err := client.Series(ctx, connect.NewRequest(&querierv1.SeriesRequest{Matchers: []string{selector}, Start: start, End: end}))
	if err != nil {
		return fmt.Errorf("Series: %w", err)
	}
	for _, labels := range series.Msg.LabelsSet {
		one := map[string]string{}
		for _, l := range labels.Labels {
			one[l.Name] = l.Value
		}
		out.Series = append(out.Series, one)
	}
	if err := sums(ctx, client, selector, start, end, &out); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(out)
}

func sums(ctx context.Context, client querierv1connect.QuerierServiceClient, selector string, start, end int64, out *answers) error {
	merged, err := client.SelectMergeProfile(ctx, connect.NewRequest(&querierv1.SelectMergeProfileRequest{
		ProfileTypeID: cpu, LabelSelector: selector, Start: start, End: end,
	}))
	if err != nil {
		return fmt.Errorf("SelectMergeProfile: %w", err)
	}
	out.N = len(merged.Msg.Sample)
	for _, s := range merged.Msg.Sample {
		out.MergeTotal += s.Value[0]
	}
	out.Functions = functions(merged.Msg)

	unlimited := int64(1 << 20)
	flame, err := client.SelectMergeStacktraces(ctx, connect.NewRequest(&querierv1.SelectMergeStacktracesRequest{
		ProfileTypeID: cpu, LabelSelector: selector, Start: start, End: end, MaxNodes: &unlimited,
	}))
	if err != nil {
		return fmt.Errorf("SelectMergeStacktraces: %w", err)
	}
	graph := flame.Msg.Flamegraph
	if graph == nil {
		return fmt.Errorf("SelectMergeStacktraces: no flame graph")
	}
	out.FlameTotal = graph.Total
	for _, level := range graph.Levels {
		for i := 0; i+3 < len(level.Values); i += 4 {
			out.FlameSelf += level.Values[i+2]
			if name := level.Values[i+3]; name < 0 || name >= int64(len(graph.Names)) {
				return fmt.Errorf("a bar of the flame graph names string %d of %d", name, len(graph.Names))
			}
		}
	}

	points, err := client.SelectSeries(ctx, connect.NewRequest(&querierv1.SelectSeriesRequest{
		ProfileTypeID: cpu, LabelSelector: selector, Start: start, End: end, Step: 10, GroupBy: []string{"service_name"},
	}))
	if err != nil {
		return fmt.Errorf("SelectSeries: %w", err)
	}
	for _, s := range points.Msg.Series {
		for _, p := range s.Points {
			out.SeriesTotal += p.Value
		}
	}
	return nil
}

func functions(p *googlev1.Profile) []string {
	var names []string
	for _, f := range p.Function {
		names = append(names, p.StringTable[f.Name])
	}
	return names
}
