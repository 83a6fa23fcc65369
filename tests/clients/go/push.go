package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"time"

	"connectrpc.com/connect"
	"github.com/grafana/pyroscope-go"
	googlev1 "github.com/grafana/pyroscope/api/gen/proto/go/google/v1"
	pushv1 "github.com/grafana/pyroscope/api/gen/proto/go/push/v1"
	"github.com/grafana/pyroscope/api/gen/proto/go/push/v1/pushv1connect"
	typesv1 "github.com/grafana/pyroscope/api/gen/proto/go/types/v1"
	collector "go.opentelemetry.io/proto/slim/otlp/collector/profiles/v1development"
	common "go.opentelemetry.io/proto/slim/otlp/common/v1"
	otlp "go.opentelemetry.io/proto/slim/otlp/profiles/v1development"
	resource "go.opentelemetry.io/proto/slim/otlp/resource/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// The client of a protocol: plain HTTP/2 for gRPC, which has no other.
func transport(protocol string) (*http.Client, []connect.ClientOption) {
	switch protocol {
	case "json":
		return http.DefaultClient, []connect.ClientOption{connect.WithProtoJSON()}
	case "grpc":
		protocols := new(http.Protocols)
		protocols.SetUnencryptedHTTP2(true)
		client := &http.Client{Transport: &http.Transport{Protocols: protocols}}
		return client, []connect.ClientOption{connect.WithGRPC()}
	case "grpc-web":
		return http.DefaultClient, []connect.ClientOption{connect.WithGRPCWeb()}
	default:
		return http.DefaultClient, nil
	}
}

// Pushes main;work = 5 and main = 2 nanoseconds.
func push(url, service, protocol string) error {
	client, options := transport(protocol)
	profile := &googlev1.Profile{
		SampleType:  []*googlev1.ValueType{{Type: 1, Unit: 2}},
		PeriodType:  &googlev1.ValueType{Type: 1, Unit: 2},
		Period:      1,
		TimeNanos:   time.Now().UnixNano(),
		StringTable: []string{"", "cpu", "nanoseconds", "main", "work"},
		Function:    []*googlev1.Function{{Id: 1, Name: 3}, {Id: 2, Name: 4}},
		Location: []*googlev1.Location{
			{Id: 1, Line: []*googlev1.Line{{FunctionId: 1}}},
			{Id: 2, Line: []*googlev1.Line{{FunctionId: 2}}},
		},
		Sample: []*googlev1.Sample{
			{LocationId: []uint64{2, 1}, Value: []int64{5}},
			{LocationId: []uint64{1}, Value: []int64{2}},
		},
	}
	raw, err := proto.Marshal(profile)
	if err != nil {
		return err
	}
	labels := []*typesv1.LabelPair{{Name: "__name__", Value: "process_cpu"}, {Name: "service_name", Value: service}}
	request := &pushv1.PushRequest{Series: []*pushv1.RawProfileSeries{{
		Labels:  labels,
		Samples: []*pushv1.RawSample{{RawProfile: raw}},
	}}}
	_, err = pushv1connect.NewPusherServiceClient(client, url, options...).Push(context.Background(), connect.NewRequest(request))
	return err
}

const exportPath = "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export"

// The same by OpenTelemetry's own messages, over HTTP or gRPC.
func export(url, service, protocol string) error {
	text := func(s string) *common.AnyValue {
		return &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: s}}
	}
	request := &collector.ExportProfilesServiceRequest{
		ResourceProfiles: []*otlp.ResourceProfiles{{
			Resource: &resource.Resource{Attributes: []*common.KeyValue{{Key: "service.name", Value: text(service)}}},
			ScopeProfiles: []*otlp.ScopeProfiles{{Profiles: []*otlp.Profile{{
				SampleType:   &otlp.ValueType{TypeStrindex: 1, UnitStrindex: 2},
				PeriodType:   &otlp.ValueType{TypeStrindex: 3, UnitStrindex: 4},
				Period:       1,
				TimeUnixNano: uint64(time.Now().UnixNano()),
				ProfileId:    []byte("0123456789abcdef"),
				Samples: []*otlp.Sample{
					{StackIndex: 1, Values: []int64{5}},
					{StackIndex: 2, Values: []int64{2}},
				},
			}}}},
		}},
		Dictionary: &otlp.ProfilesDictionary{
			StringTable:    []string{"", "samples", "count", "cpu", "nanoseconds", "main", "work"},
			FunctionTable:  []*otlp.Function{{}, {NameStrindex: 5}, {NameStrindex: 6}},
			MappingTable:   []*otlp.Mapping{{}},
			LocationTable:  []*otlp.Location{{}, {Lines: []*otlp.Line{{FunctionIndex: 1}}}, {Lines: []*otlp.Line{{FunctionIndex: 2}}}},
			StackTable:     []*otlp.Stack{{}, {LocationIndices: []int32{2, 1}}, {LocationIndices: []int32{1}}},
			AttributeTable: []*otlp.KeyValueAndUnit{{}},
			LinkTable:      []*otlp.Link{{}},
		},
	}
	if protocol == "grpc" {
		client, options := transport(protocol)
		call := connect.NewClient[collector.ExportProfilesServiceRequest, collector.ExportProfilesServiceResponse](client, url+exportPath, options...)
		_, err := call.CallUnary(context.Background(), connect.NewRequest(request))
		return err
	}
	kind, body, err := "application/x-protobuf", []byte(nil), error(nil)
	if protocol == "json" {
		kind = "application/json"
		body, err = protojson.Marshal(request)
	} else {
		body, err = proto.Marshal(request)
	}
	if err != nil {
		return err
	}
	answer, err := http.Post(url+"/v1development/profiles", kind, bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	message, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s (%v)", answer.Status, message, err)
	}
	return nil
}

var kept [][]byte

//go:noinline
func hotGoFunction(end time.Time) (sum int) {
	for time.Now().Before(end) {
		for i := range 100_000 {
			sum += i * i
		}
		kept = append(kept, bytes.Repeat([]byte{1}, 64<<10))
		if len(kept) > 100 {
			kept = kept[50:]
		}
	}
	return sum
}

// Profiles itself with the SDK: CPU and the four types of the heap.
func sdk(url, service, seconds string) error {
	length, err := time.ParseDuration(seconds + "s")
	if err != nil {
		return err
	}
	runtime.MemProfileRate = 16 << 10
	profiler, err := pyroscope.Start(pyroscope.Config{
		ApplicationName: service,
		ServerAddress:   url,
		UploadRate:      5 * time.Second,
		Tags:            map[string]string{"color": "blue"},
		ProfileTypes: []pyroscope.ProfileType{
			pyroscope.ProfileCPU, pyroscope.ProfileInuseObjects, pyroscope.ProfileAllocObjects,
			pyroscope.ProfileInuseSpace, pyroscope.ProfileAllocSpace,
		},
	})
	if err != nil {
		return err
	}
	hotGoFunction(time.Now().Add(length))
	return profiler.Stop()
}
