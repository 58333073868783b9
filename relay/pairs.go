package relay

import (
	"bufio"
	"cmp"
	"container/heap"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"slices"
)

// pair is a number that belongs to another one.
type pair struct{ key, value uint64 }

func comparePairs(a, b pair) int {
	return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.value, b.value))
}

// pairs sorts pairs: in memory up to a limit, and beyond it in runs of that
// many in a file, which are merged when they are read.
type pairs struct {
	limit int    // pairs in memory
	dir   string // of the file; the system's own for those if empty
	list  []pair
	file  *os.File
	runs  int // in the file, each of limit pairs
}

const (
	pairSize = 16      // bytes in the file
	runAhead = 8 << 10 // bytes of a run to read at once
)

func (p *pairs) add(key, value uint64) error {
	if len(p.list) == p.limit {
		if err := p.spill(); err != nil {
			return err
		}
	}
	p.list = append(p.list, pair{key, value})
	return nil
}

// spill moves what is in memory to the file, as a run.
func (p *pairs) spill() error {
	if p.file == nil {
		var err error
		if p.file, err = scratchFile(p.dir); err != nil {
			return err
		}
	}
	slices.SortFunc(p.list, comparePairs)
	w := bufio.NewWriterSize(io.NewOffsetWriter(p.file, p.start(p.runs)), 64<<10)
	var data [pairSize]byte
	for _, x := range p.list {
		binary.LittleEndian.PutUint64(data[:8], x.key)
		binary.LittleEndian.PutUint64(data[8:], x.value)
		_, _ = w.Write(data[:]) // Flush tells
	}
	if err := w.Flush(); err != nil {
		return scratchError(p.file.Name(), err)
	}
	p.runs++
	p.list = p.list[:0]
	return nil
}

// start is where a run is in the file.
func (p *pairs) start(run int) int64 { return int64(run) * int64(p.limit) * pairSize }

// done says that nothing more comes, sorts, and gives memory back.
func (p *pairs) done() {
	slices.SortFunc(p.list, comparePairs)
	if p.file != nil {
		p.list = slices.Clip(slices.Clone(p.list))
	}
}

// reset empties it; a list stays if it is of at most scratchKept bytes.
func (p *pairs) reset() error {
	file := p.file
	p.file, p.runs, p.list = nil, 0, p.list[:0]
	if cap(p.list)*pairSize > scratchKept {
		p.list = nil
	}
	return closeScratch(file)
}

// sorted reads pairs that are done, the lowest first.
func (p *pairs) sorted() (m merge, err error) {
	m.rest = p.list
	for i := range p.runs {
		r := &run{from: bufio.NewReaderSize(io.NewSectionReader(p.file, p.start(i), int64(p.limit)*pairSize), runAhead), name: p.file.Name()}
		if _, err := r.next(); err != nil {
			return merge{}, err
		}
		m.runs = append(m.runs, r)
	}
	heap.Init(&m.runs)
	return m, nil
}

// merge gives the pairs of several runs and of a list in memory in order.
type merge struct {
	rest []pair
	runs runs
}

// next returns the next pair; ok is false after the last one.
func (m *merge) next() (x pair, ok bool, err error) {
	if len(m.runs) == 0 || len(m.rest) > 0 && comparePairs(m.rest[0], m.runs[0].head) < 0 {
		if len(m.rest) == 0 {
			return pair{}, false, nil
		}
		x, m.rest = m.rest[0], m.rest[1:]
		return x, true, nil
	}
	x = m.runs[0].head
	more, err := m.runs[0].next()
	switch {
	case err != nil:
		return pair{}, false, err
	case more:
		heap.Fix(&m.runs, 0)
	default:
		heap.Pop(&m.runs)
	}
	return x, true, nil
}

// run is a sorted part of a file.
type run struct {
	head pair
	from *bufio.Reader
	name string // of the file
}

// next reads the next pair into head, and says whether there was one.
func (r *run) next() (bool, error) {
	data, err := r.from.Peek(pairSize)
	switch {
	case len(data) == 0 && errors.Is(err, io.EOF):
		return false, nil
	case err != nil:
		return false, scratchError(r.name, err)
	}
	r.head = pair{binary.LittleEndian.Uint64(data[:8]), binary.LittleEndian.Uint64(data[8:])}
	_, err = r.from.Discard(pairSize)
	return true, err
}

// runs is a heap of them, by their heads.
type runs []*run

func (h runs) Len() int           { return len(h) }
func (h runs) Less(i, j int) bool { return comparePairs(h[i].head, h[j].head) < 0 }
func (h runs) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *runs) Push(x any)        { *h = append(*h, x.(*run)) }

func (h *runs) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	*h = (*h)[:last]
	return x
}
