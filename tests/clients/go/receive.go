package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"

	"connectrpc.com/connect"
	"github.com/google/pprof/profile"
	pushv1 "github.com/grafana/pyroscope/api/gen/proto/go/push/v1"
	"github.com/grafana/pyroscope/api/gen/proto/go/push/v1/pushv1connect"
)

// What a pushed profile says of itself, by the decoder that pprof itself uses.
type received struct {
	ID               string            `json:"id"`
	Labels           map[string]string `json:"labels"`
	SampleType       []string          `json:"sample_type"`
	PeriodType       string            `json:"period_type"`
	Period           int64             `json:"period"`
	TimeNanos        int64             `json:"time_nanos"`
	DurationNanos    int64             `json:"duration_nanos"`
	Total            int64             `json:"total"`
	Functions        []string          `json:"functions"`
	Mappings         []string          `json:"mappings"`
	BuildIDs         []string          `json:"build_ids"`
	NamelessFrames   int               `json:"nameless_frames"`
	FramesNoLocation int               `json:"frames_without_mapping"`
	Encoding         string            `json:"content_encoding"`
	ContentType      string            `json:"content_type"`
}

type receiver struct {
	mutex sync.Mutex
	out   *json.Encoder
}

func (r *receiver) Push(_ context.Context, request *connect.Request[pushv1.PushRequest]) (*connect.Response[pushv1.PushResponse], error) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	for _, series := range request.Msg.Series {
		for _, sample := range series.Samples {
			one := received{ID: sample.ID, Labels: map[string]string{}}
			one.Encoding = request.Header().Get("Content-Encoding")
			one.ContentType = request.Header().Get("Content-Type")
			for _, l := range series.Labels {
				if _, twice := one.Labels[l.Name]; twice {
					return nil, connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("label %s twice", l.Name))
				}
				one.Labels[l.Name] = l.Value
			}
			if err := one.read(sample.RawProfile); err != nil {
				fmt.Fprintln(os.Stderr, "error:", err)
				return nil, connect.NewError(connect.CodeInvalidArgument, err)
			}
			if err := r.out.Encode(one); err != nil {
				return nil, err
			}
		}
	}
	return connect.NewResponse(&pushv1.PushResponse{}), nil
}

func (one *received) read(raw []byte) error {
	p, err := profile.Parse(bytes.NewReader(raw))
	if err != nil {
		return err
	}
	if err := p.CheckValid(); err != nil {
		return err
	}
	for _, t := range p.SampleType {
		one.SampleType = append(one.SampleType, t.Type+"/"+t.Unit)
	}
	if p.PeriodType != nil {
		one.PeriodType = p.PeriodType.Type + "/" + p.PeriodType.Unit
	}
	one.Period, one.TimeNanos, one.DurationNanos = p.Period, p.TimeNanos, p.DurationNanos
	for _, s := range p.Sample {
		one.Total += s.Value[0]
	}
	for _, f := range p.Function {
		if f.Name == "" {
			one.NamelessFrames++
		}
		one.Functions = append(one.Functions, f.Name)
	}
	for _, l := range p.Location {
		if len(l.Line) == 0 {
			one.NamelessFrames++
		}
		if l.Mapping == nil {
			one.FramesNoLocation++
		}
	}
	for _, m := range p.Mapping {
		one.Mappings = append(one.Mappings, m.File)
		one.BuildIDs = append(one.BuildIDs, m.BuildID)
	}
	return nil
}

func receive(address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle(pushv1connect.NewPusherServiceHandler(&receiver{out: json.NewEncoder(os.Stdout)}))
	fmt.Fprintln(os.Stderr, "listening on", listener.Addr())
	return http.Serve(listener, mux)
}
