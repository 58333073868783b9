package audience

import (
	"container/list"
	"sync"

	"github.com/chorusd/chorusd/binlog"
	"github.com/chorusd/chorusd/mapping"
)

// parents keeps the rows that were asked for last, also those that do not
// exist. To look one up changes the order, so it has a lock of its own.
type parents struct {
	mu     sync.Mutex
	byRef  map[mapping.ParentRef]*list.Element
	order  *list.List // of *parent, the last used first
	bytes  int
	most   int
	memory int
}

type parent struct {
	ref   mapping.ParentRef
	value mapping.Parent
}

func newParents(most, memory int) *parents {
	return &parents{byRef: map[mapping.ParentRef]*list.Element{}, order: list.New(), most: most, memory: memory}
}

// parentBytes is what an entry takes beside its texts, in bytes: the list's
// element, the map's entry and the structs.
const parentBytes = 320

func (p *parent) size() int {
	size := parentBytes + len(p.ref.Key)
	for _, v := range p.value.Values {
		size += 16 + len(v)
	}
	return size
}

func (l *parents) get(ref mapping.ParentRef) (mapping.Parent, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.byRef[ref]
	if e == nil {
		return mapping.Parent{}, false
	}
	l.order.MoveToFront(e)
	return e.Value.(*parent).value, true
}

func (l *parents) put(ref mapping.ParentRef, value mapping.Parent) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.byRef[ref]; e != nil {
		l.drop(e)
	}
	p := &parent{ref, value}
	l.byRef[ref] = l.order.PushFront(p)
	l.bytes += p.size()
	for l.order.Len() > 1 && (l.order.Len() > l.most || l.bytes > l.memory) {
		l.drop(l.order.Back())
	}
}

func (l *parents) drop(e *list.Element) {
	p := l.order.Remove(e).(*parent)
	delete(l.byRef, p.ref)
	l.bytes -= p.size()
}

func (l *parents) remove(ref mapping.ParentRef) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.byRef[ref]; e != nil {
		l.drop(e)
	}
}

func (l *parents) forget(table binlog.TableName) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for ref, e := range l.byRef {
		if ref.Table == table {
			l.drop(e)
		}
	}
}
