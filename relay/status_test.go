package relay

import (
	"context"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/pusher"
)

// sample is what is served of a metric with a label of that value; "" for one
// without labels.
func (r *rig) sample(name, label string) *dto.Metric {
	r.t.Helper()
	families, err := r.registry.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if family.GetName() == name && (label == "" || slices.ContainsFunc(m.GetLabel(), func(l *dto.LabelPair) bool { return l.GetValue() == label })) {
				return m
			}
		}
	}
	r.t.Fatalf("there is no %s of %q", name, label)
	return nil
}

// TestLatencyByStage: a change comes to each stage, one after the other.
func TestLatencyByStage(t *testing.T) {
	r := newRig(t)
	r.start()
	r.commit(put(1, 7))
	r.caughtUp()
	before := 0.0
	for s := range stages {
		h := r.sample("chorusd_latency_seconds", s.String()).GetHistogram()
		if h.GetSampleCount() != 1 || h.GetSampleSum() < before {
			t.Errorf("%s: %d times, after %v s; want once, after %v s or more", s, h.GetSampleCount(), h.GetSampleSum(), before)
		}
		before = h.GetSampleSum()
	}
	// Of three changes in one transaction, that is read once.
	r.commit(put(2, 7), put(3, 7), put(4, 8))
	r.caughtUp()
	for s, want := range map[stage]uint64{stageRead: 2, stageRouted: 4, stageSent: 4, stageAccepted: 4} {
		if n := r.sample("chorusd_latency_seconds", s.String()).GetHistogram().GetSampleCount(); n != want {
			t.Errorf("%s: %d times, want %d", s, n, want)
		}
	}
	if n := r.sample("chorusd_channel_messages_total", "").GetCounter().GetValue(); n != 4 {
		t.Errorf("%v messages accepted, want 4", n)
	}
}

// TestRefillHasNoLatency: what it sends is of no commit.
func TestRefillHasNoLatency(t *testing.T) {
	r, open := newHeldRefill(t, put(1, 7))
	open()
	r.caughtUp()
	if n := r.sample("chorusd_refilled_total", "").GetCounter().GetValue(); n != 1 {
		t.Fatalf("%v records refilled, want 1", n)
	}
	if n := r.sample("chorusd_latency_seconds", stageAccepted.String()).GetHistogram().GetSampleCount(); n != 0 {
		t.Errorf("%d times counted, want none", n)
	}
}

// knownEnd is a Backlog that always says the same.
type knownEnd struct{ offset uint64 }

func (e knownEnd) End(context.Context, binlog.Position) (binlog.LogEnd, error) {
	return binlog.LogEnd{Files: []binlog.LogFile{{Name: position(0).File, Size: e.offset}}}, nil
}

func (knownEnd) Close() {}

// TestLagOfWhatIsNotRead: as long as the log goes further than it was read,
// there is a lag, whatever is under way.
func TestLagOfWhatIsNotRead(t *testing.T) {
	r := newRig(t)
	r.backlog = knownEnd{3}
	r.start()
	r.commit(put(1, 7))
	r.caughtUp()
	eventually(t, "the log's end is known", func() bool { return r.relay.Status().LagBytes != nil })
	s := r.relay.Status()
	if at := time.Since(epochTime); *s.LagBytes != 2 || s.Lag < at-time.Minute || s.Lag > at {
		t.Errorf("%d bytes and %s behind, want 2 and %s", *s.LagBytes, s.Lag, at)
	}
	if n := r.sample("chorusd_lag_bytes", "").GetGauge().GetValue(); n != 2 {
		t.Errorf("chorusd_lag_bytes is %v, want 2", n)
	}
	r.commit(put(2, 7))
	r.commit(put(3, 7))
	r.caughtUp()
	if s := r.relay.Status(); *s.LagBytes != 0 || s.Lag != 0 {
		t.Errorf("%d bytes and %s behind at the end, want nothing", *s.LagBytes, s.Lag)
	}
	// Until what comes next is known of, no time has passed since the log was
	// found to go no further.
	r.quiet(int(time.Since(epochTime).Seconds()))
	eventually(t, "the log goes no further", func() bool { return r.relay.readTo.Load() > epochTime.Add(time.Second).UnixMicro() })
	r.relay.logEnd.mu.Lock()
	r.relay.logEnd.end.Files[0].Size = 4
	r.relay.logEnd.mu.Unlock()
	if s := r.relay.Status(); *s.LagBytes != 1 || s.Lag > patience {
		t.Errorf("%d bytes and %s behind, want 1 and a moment", *s.LagBytes, s.Lag)
	}
}

func TestLagIsNotKnown(t *testing.T) {
	r := newRig(t)
	r.start()
	r.commit(put(1, 7))
	r.caughtUp()
	if s := r.relay.Status(); s.LagBytes != nil || s.Lag != 0 {
		t.Errorf("%v bytes and %s behind, want nobody to know, and nothing", s.LagBytes, s.Lag)
	}
	if n := r.sample("chorusd_lag_bytes", "").GetGauge().GetValue(); !math.IsNaN(n) {
		t.Errorf("chorusd_lag_bytes is %v, want NaN", n)
	}
}

// TestPausedIsNoSilence: who does not read does not hear the server either.
func TestPausedIsNoSilence(t *testing.T) {
	r := newRig(t)
	r.inbox = 1
	_, pass := r.hold()
	r.start()
	const size = 9_000 // which a request takes
	for n := range queueBytes/size + 100 {
		r.commit(big(n, 7, size))
	}
	eventually(t, "reading pauses, since routing waits for room", func() bool {
		if r.relay.queue.room.TryAcquire(1) { // nobody waits, so a pause may pass
			r.relay.queue.room.Release(1)
			return false
		}
		return r.relay.Status().Paused
	})
	r.relay.heard.Store(epochTime.UnixNano())
	s := r.relay.Status()
	if !s.Paused || !s.Reading || s.InboxBytes == 0 || s.Pending == 0 {
		t.Errorf("paused %v, reading %v, %d bytes of %d transactions wait", s.Paused, s.Reading, s.InboxBytes, s.Pending)
	}
	if n := r.sample("chorusd_reading_paused", "").GetGauge().GetValue(); n != 1 {
		t.Errorf("chorusd_reading_paused is %v, want 1", n)
	}
	pass()
	r.caughtUp()
	if s := r.relay.Status(); s.Paused || s.InboxBytes != 0 {
		t.Errorf("at the end paused %v, %d bytes wait", s.Paused, s.InboxBytes)
	}
	r.relay.heard.Store(epochTime.UnixNano())
	if s := r.relay.Status(); s.Reading {
		t.Error("a server that was not heard of is taken for one that is")
	}
}

// TestProblems: each part that does not work is named, and what works is not.
func TestProblems(t *testing.T) {
	well := Status{Reading: true, ChannelsKnown: true, Publishing: true, Saving: true, Leading: true}
	if list := well.Problems(); list != nil || !well.Ready() {
		t.Errorf("problems %q, ready %v", list, well.Ready())
	}
	for part, broken := range map[string]func(*Status){
		"database: ": func(s *Status) { s.Reading = false }, "channels: ": func(s *Status) { s.ChannelsKnown = false },
		"pusher: ": func(s *Status) { s.Publishing = false }, "redis: ": func(s *Status) { s.Saving = false },
		"leader: ": func(s *Status) { s.Leading = false },
	} {
		s := well
		broken(&s)
		if list := s.Problems(); len(list) != 1 || !strings.HasPrefix(list[0], part) || s.Ready() {
			t.Errorf("%s%q, ready %v", part, list, s.Ready())
		}
	}
}

func TestVigil(t *testing.T) {
	var v vigil
	waits := true
	look := func(times int64) {
		for range times {
			v.look(func() bool { return waits })
		}
	}
	v.step()
	look(stuckAfter)
	if v.isStuck() {
		t.Error("stuck though a step was taken in time")
	}
	look(1)
	if !v.isStuck() {
		t.Error("not stuck after no step for so long")
	}
	v.step()
	look(1)
	if v.isStuck() {
		t.Error("stuck after a step")
	}
	look(stuckAfter - 1)
	waits = false
	look(1)
	waits = true
	look(stuckAfter - 1)
	if v.isStuck() {
		t.Error("stuck though nothing was to do in between")
	}
}

// TestNothingToWaitFor: an idle relay is not stuck, and one that has a server
// to wait for neither.
func TestNothingToWaitFor(t *testing.T) {
	r := newRig(t)
	failing := make(chan struct{})
	r.onAnswer(func(context.Context, []pusher.Event) (bool, error) {
		select {
		case <-failing:
			return true, nil
		default:
			return false, errUnknown
		}
	})
	r.start()
	r.poll()
	if r.relay.waits() {
		t.Error("there is nothing to do")
	}
	r.subscribe(7)
	r.poll()
	r.commit(put(1, 7))
	eventually(t, "a request has failed", func() bool { return !r.relay.Status().Publishing })
	if r.relay.waits() {
		t.Error("the Pusher server is waited for")
	}
	close(failing)
	r.caughtUp()
}
