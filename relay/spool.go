package relay

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
)

// spool keeps entries of bytes: in memory up to a limit, and beyond it in a
// file. What is in memory is read once all are there, see done.
type spool struct {
	limit int    // bytes in memory
	dir   string // of the file; the system's own for those if empty
	tail  []byte // what is not in the file
	file  *os.File
	saved int64 // bytes in the file
}

const (
	// entrySize is the size of an entry's length, which stands before it.
	entrySize = 4
	// scratchKept is how many bytes of a buffer are kept to be used again.
	scratchKept = 64 << 10
)

// end is where the next entry will be.
func (s *spool) end() int64 { return s.saved + int64(len(s.tail)) }

// add keeps what write appends as one entry.
func (s *spool) add(write func(dst []byte) []byte) error {
	start := len(s.tail)
	s.tail = write(append(s.tail, make([]byte, entrySize)...))
	binary.LittleEndian.PutUint32(s.tail[start:], uint32(len(s.tail)-start-entrySize))
	if len(s.tail) < s.limit {
		return nil
	}
	return s.spill()
}

// spill moves what is in memory to the file.
func (s *spool) spill() error {
	if s.file == nil {
		var err error
		if s.file, err = scratchFile(s.dir); err != nil {
			return err
		}
	}
	n, err := s.file.WriteAt(s.tail, s.saved)
	if err != nil {
		return scratchError(s.file.Name(), err)
	}
	s.saved += int64(n)
	s.tail = s.tail[:0]
	return nil
}

// done says that nothing more comes, and gives memory back.
func (s *spool) done() error {
	if s.file == nil {
		return nil
	}
	err := s.spill()
	s.tail = nil
	return err
}

// reset empties the spool; a buffer of at most scratchKept bytes stays.
func (s *spool) reset() error {
	file := s.file
	s.file, s.saved, s.tail = nil, 0, s.tail[:0]
	if cap(s.tail) > scratchKept {
		s.tail = nil
	}
	return closeScratch(file)
}

// spoolReader reads entries of a spool that is done.
type spoolReader struct {
	*spool
	ahead int // bytes to read at once
	buf   []byte
	from  int64 // where buf is
}

// entry returns the one at a place, valid until the next call, and where the
// one after it is.
func (r *spoolReader) entry(at int64) (entry []byte, next int64, err error) {
	head, err := r.bytes(at, entrySize)
	if err != nil {
		return nil, 0, err
	}
	size := int(binary.LittleEndian.Uint32(head))
	entry, err = r.bytes(at+entrySize, size)
	return entry, at + entrySize + int64(size), err
}

func (r *spoolReader) bytes(at int64, n int) ([]byte, error) {
	if r.file == nil {
		return r.tail[at : at+int64(n)], nil
	}
	if at < r.from || at+int64(n) > r.from+int64(len(r.buf)) {
		size := int(min(int64(max(n, r.ahead)), r.saved-at))
		if cap(r.buf) < size {
			r.buf = make([]byte, size)
		}
		r.buf, r.from = r.buf[:size], at
		if _, err := r.file.ReadAt(r.buf, at); err != nil {
			r.buf = r.buf[:0]
			return nil, scratchError(r.file.Name(), err)
		}
	}
	return r.buf[at-r.from:][:n], nil
}

// spoolQueue is a spool of which the first entry is taken out while more are
// put in: from is moved on past it.
type spoolQueue struct {
	spool
	from   int64 // where the first entry is
	reader spoolReader
}

// spoolQueueBuffer is how many bytes are gathered before they go to the file.
const spoolQueueBuffer = 128 << 10

func newSpoolQueue(dir string) *spoolQueue {
	return (&spoolQueue{spool: spool{limit: spoolQueueBuffer, dir: dir}}).readable()
}

func (q *spoolQueue) readable() *spoolQueue {
	q.reader = spoolReader{spool: &q.spool, ahead: changesAhead}
	return q
}

// size is how many bytes the entries take that are there.
func (q *spoolQueue) size() int64 { return q.end() - q.from }

// first is the first entry, valid until the next call, and where the one after
// it is.
func (q *spoolQueue) first() (entry []byte, next int64, err error) {
	if q.file != nil && q.from == q.saved {
		if err := q.spill(); err != nil {
			return nil, 0, err
		}
	}
	return q.reader.entry(q.from)
}

// snapshot is what is there now, to be read while more is put in. It is of no
// use after an entry was taken out.
func (q *spoolQueue) snapshot() (*spoolQueue, error) {
	if err := q.spill(); err != nil {
		return nil, err
	}
	return (&spoolQueue{spool: q.spool, from: q.from}).readable(), nil
}

// reset forgets everything, and gives the file back.
func (q *spoolQueue) reset() error {
	q.from, q.reader.buf = 0, nil
	return q.spool.reset()
}

// scratchFile makes a file that is gone when it is closed, or when the
// process ends.
func scratchFile(dir string) (*os.File, error) {
	file, err := os.CreateTemp(dir, "transaction-*")
	if err != nil {
		return nil, scratchError(cmp.Or(dir, os.TempDir()), err)
	}
	if err := os.Remove(file.Name()); err != nil {
		return nil, errors.Join(scratchError(file.Name(), err), file.Close())
	}
	return file, nil
}

func scratchError(name string, err error) error {
	return fmt.Errorf("keep what was read and is too large for memory in %s: %w; make room there, or name another folder by state_dir", name, err)
}

func closeScratch(file *os.File) error {
	if file == nil {
		return nil
	}
	if err := file.Close(); err != nil {
		return scratchError(file.Name(), err)
	}
	return nil
}
