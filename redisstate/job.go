package redisstate

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// RecordKey names a record.
type RecordKey struct {
	Table string
	Key   string // JSON text
}

// A Job is a refill that some channels have coming: items that say what to send,
// each to all of the channels. It survives crashes until its last item is done.
type Job struct {
	ID       string
	Channels []string
	// Items are in the order in which they were asked for, and by their texts.
	Items []JobItem
}

// JobItem is an item of a job.
type JobItem struct {
	RecordKey
	// Asked tells which addition asked for it last. JobProgress leaves the
	// item alone if another one has asked since.
	Asked uint64
}

// JobStart is what a job is made of.
type JobStart struct {
	// ID is given by StartJobs where it is empty.
	ID       string
	Channels []string
	// The records that the window holds for Streams from the epoch From on
	// become items, beside Items.
	Streams []string
	From    uint64
	Items   []RecordKey
}

var (
	startJob    = script("start_job")
	changeJob   = script("change_job")
	keptStreams = script("kept_streams")
)

// StartJobs makes jobs and returns those that have anything to send, in the
// order of starts, with few round trips. Call it once nothing is being added to
// the window for these streams any more, and before the leases of channels that
// were just seen are made: else a crash or a late entry is a gap. After an
// error, some may have been made; starting the same again, with the IDs that
// starts has then, is safe.
func (s *Store) StartJobs(ctx context.Context, starts []JobStart) ([]Job, error) {
	wanted, err := s.wanted(ctx, starts)
	if err != nil {
		return nil, fmt.Errorf("look what %d refills have to send: %w", len(starts), err)
	}
	jobs := make([]Job, 0, len(wanted))
	for some := range slices.Chunk(wanted, batch) {
		answers, err := s.startAll(ctx, some)
		if err != nil {
			return nil, fmt.Errorf("start %d refills: %w", len(starts), err)
		}
		for i, answer := range answers {
			job, err := s.started(ctx, some[i], answer)
			if err != nil {
				return nil, fmt.Errorf("start a refill of %q for %d channels: %w", some[i].Streams, len(some[i].Channels), err)
			}
			if len(job.Items) > 0 {
				jobs = append(jobs, job)
			}
		}
	}
	return jobs, nil
}

// startAll has scripts make jobs, in one round trip, and returns their answers.
func (s *Store) startAll(ctx context.Context, starts []JobStart) ([][]string, error) {
	if err := s.turn(ctx); err != nil {
		return nil, err
	}
	defer s.done()
	answers, err := s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		run := startJob.Eval // which has Redis keep the script, so that the others need not bring it
		for _, start := range starts {
			keys, args := s.guarded(true,
				[]string{s.keys.epochs, s.keys.jobs, s.keys.starts, s.keys.channelsOf(start.ID), s.keys.itemsOf(start.ID)},
				s.startArgs(start))
			run(ctx, p, keys, args...)
			run = startJob.EvalSha
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	items := make([][]string, len(answers))
	for i, answer := range answers {
		list, err := answer.(*redis.Cmd).Slice()
		if err != nil {
			return nil, err
		}
		own, err := s.token.judge(list)
		if err != nil {
			return nil, err
		}
		if items[i], err = stringsOf(own); err != nil {
			return nil, err
		}
	}
	return items, nil
}

// stringsOf is a script's answer that is a list of texts.
func stringsOf(answer any) ([]string, error) {
	list, ok := answer.([]any)
	texts := make([]string, len(list))
	for i := range list {
		if texts[i], ok = list[i].(string); !ok {
			break
		}
	}
	if !ok {
		return nil, fmt.Errorf("a script answers %v", answer)
	}
	return texts, nil
}

// wanted are the starts that have items, or streams with records, with IDs.
// Nearly all of those who come back together have missed nothing: to find that
// out takes a fifth of what a script for each would.
func (s *Store) wanted(ctx context.Context, starts []JobStart) ([]JobStart, error) {
	kept := map[uint64]map[string]bool{} // by the first epoch
	for i := range starts {
		of := kept[starts[i].From]
		if of == nil {
			of = map[string]bool{}
			kept[starts[i].From] = of
		}
		if len(starts[i].Items) == 0 {
			for _, stream := range starts[i].Streams {
				of[stream] = false
			}
		}
	}
	for from, of := range kept {
		streams := slices.Collect(maps.Keys(of))
		found, err := s.Kept(ctx, from, streams)
		if err != nil {
			return nil, err
		}
		for i, stream := range streams {
			of[stream] = found[i]
		}
	}
	var wanted []JobStart
	for i := range starts {
		start := &starts[i]
		of := kept[start.From]
		if len(start.Items) == 0 && !slices.ContainsFunc(start.Streams, func(stream string) bool { return of[stream] }) {
			continue
		}
		if start.ID == "" {
			start.ID = rand.Text()
		}
		wanted = append(wanted, *start)
	}
	return wanted, nil
}

// Kept says for which streams the window holds anything from an epoch on.
func (s *Store) Kept(ctx context.Context, from uint64, streams []string) ([]bool, error) {
	kept := make([]bool, len(streams))
	for first := 0; first < len(streams); first += batch {
		some := streams[first:min(len(streams), first+batch)]
		numbers, err := s.ask(ctx, keptStreams, []string{s.keys.epochs}, appendTexts([]any{from, s.keys.epoch}, some)...)
		if err != nil {
			return nil, fmt.Errorf("look what is kept for %d streams: %w", len(streams), err)
		}
		for _, n := range numbers.([]any) {
			kept[first+int(n.(int64))-1] = true
		}
	}
	return kept, nil
}

func (s *Store) startArgs(start JobStart) []any {
	channels, items := cut(&start.Channels), cut(&start.Items)
	args := make([]any, 0, 5+len(start.Streams)+len(channels)+len(items))
	args = append(args, start.ID, start.From, s.keys.epoch, len(start.Streams))
	args = appendTexts(args, start.Streams)
	args = appendTexts(append(args, len(channels)), channels)
	return appendTexts(args, texts(items))
}

// started reads what a script has made of a start, and adds what did not fit
// into it.
func (s *Store) started(ctx context.Context, start JobStart, flat []string) (Job, error) {
	if len(flat) == 0 {
		return Job{}, nil
	}
	items, err := decodeItems(flat)
	if err != nil {
		return Job{}, err
	}
	job := Job{ID: start.ID, Channels: start.Channels, Items: items}
	_, _ = cut(&start.Channels), cut(&start.Items)
	more, err := s.AddToJob(ctx, job.ID, start.Channels, start.Items)
	job.Items = append(job.Items, more...)
	return job, err
}

// Jobs returns all jobs, in the order in which they were started. A start of
// the daemon takes them up.
func (s *Store) Jobs(ctx context.Context) ([]Job, error) {
	jobs, err := s.readJobs(ctx)
	if err != nil {
		return nil, fmt.Errorf("read refills: %w", err)
	}
	return jobs, nil
}

func (s *Store) readJobs(ctx context.Context) ([]Job, error) {
	var ids *redis.StringSliceCmd
	if err := s.read(ctx, func(p redis.Pipeliner) { ids = p.ZRange(ctx, s.keys.jobs, 0, -1) }); err != nil {
		return nil, err
	}
	jobs := make([]Job, 0, len(ids.Val()))
	for some := range slices.Chunk(ids.Val(), batch) {
		channels, items := make([]*redis.StringSliceCmd, len(some)), make([]*redis.ZSliceCmd, len(some))
		err := s.read(ctx, func(p redis.Pipeliner) {
			for i, id := range some {
				channels[i] = p.SMembers(ctx, s.keys.channelsOf(id))
				items[i] = p.ZRangeWithScores(ctx, s.keys.itemsOf(id), 0, -1)
			}
		})
		if err != nil {
			return nil, err
		}
		for i, id := range some {
			job := Job{ID: id, Channels: channels[i].Val()}
			for _, z := range items[i].Val() {
				item, err := decodeItem(z.Member.(string), uint64(z.Score))
				if err != nil {
					return nil, err
				}
				job.Items = append(job.Items, item)
			}
			jobs = append(jobs, job)
		}
	}
	return jobs, nil
}

// AddToJob adds channels and items to a job and returns the items as they are in
// it now. Nothing is added, and nil returned, if the job is gone. Each channel
// gets all items that are left, whether they were asked for before or after it.
func (s *Store) AddToJob(ctx context.Context, id string, channels []string, items []RecordKey) ([]JobItem, error) {
	return s.changeJob(ctx, id, channels, nil, items)
}

// JobProgress takes items out of a job, since they were sent or need not be,
// except those that were asked for again since, and adds others: a page that
// follows, a record to read once more. Both happen, or neither, up to a thousand
// of each; of more, some may be added and none taken out. With its last item the job goes. It returns the added items as they
// are in the job; nil if the job is gone, when nothing was added.
func (s *Store) JobProgress(ctx context.Context, id string, done []JobItem, add []RecordKey) ([]JobItem, error) {
	return s.changeJob(ctx, id, nil, done, add)
}

// changeJob adds before it takes away: where that takes several scripts, a crash
// leaves too much rather than too little.
func (s *Store) changeJob(ctx context.Context, id string, channels []string, done []JobItem, add []RecordKey) ([]JobItem, error) {
	var added []JobItem
	for len(channels)+len(add)+len(done) > 0 {
		someChannels, some := cut(&channels), cut(&add)
		var someDone []JobItem
		if len(add) == 0 {
			someDone = cut(&done)
		}
		args := make([]any, 0, 3+len(someChannels)+len(some)+2*len(someDone))
		args = appendTexts(append(args, id, len(someChannels)), someChannels)
		args = appendTexts(append(args, len(some)), texts(some))
		for _, item := range someDone {
			args = append(args, item.text(), item.Asked)
		}
		answer, err := s.change(ctx, changeJob,
			[]string{s.keys.jobs, s.keys.starts, s.keys.channelsOf(id), s.keys.itemsOf(id)}, args...)
		if err != nil {
			return nil, fmt.Errorf("change refill %s by %d channels and %d items, %d done: %w", id, len(someChannels), len(some), len(someDone), err)
		}
		asked, ok := answer.(int64)
		if !ok {
			return nil, nil // it is gone
		}
		for _, key := range some {
			added = append(added, JobItem{key, uint64(asked)})
		}
	}
	return added, nil
}

// cut takes what one script carries from the front of a list.
func cut[E any](list *[]E) []E {
	n := min(len(*list), batch)
	front := (*list)[:n]
	*list = (*list)[n:]
	return front
}

func appendTexts(args []any, texts []string) []any {
	for _, text := range texts {
		args = append(args, text)
	}
	return args
}

// text is how a record stands in a job.
func (k RecordKey) text() string { return k.Table + separator + k.Key }

func texts(keys []RecordKey) []string {
	list := make([]string, len(keys))
	for i, k := range keys {
		list[i] = k.text()
	}
	return list
}

// decodeItems reads text, number, text, number, …
func decodeItems(flat []string) ([]JobItem, error) {
	items := make([]JobItem, 0, len(flat)/2)
	for pair := range slices.Chunk(flat, 2) {
		asked, err := strconv.ParseUint(pair[1], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("it holds %q", pair)
		}
		item, err := decodeItem(pair[0], asked)
		if err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	return items, nil
}

func decodeItem(text string, asked uint64) (JobItem, error) {
	table, key, ok := strings.Cut(text, separator)
	if !ok {
		return JobItem{}, fmt.Errorf("it holds %q", text)
	}
	return JobItem{RecordKey{Table: table, Key: key}, asked}, nil
}
