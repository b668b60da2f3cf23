//! What a loop over descriptors waits for, by number: the number comes back with the event.

use rustix::event::epoll::EventData;

/// Whose descriptor an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    Wake,
    Trap,
    TcpListener,
    UdpListener,
    Door,
    Dial,
    StreamInside,
    StreamOutside,
    FlowInside,
    FlowOutside,
    Echo,
    PublishedTcp,
    PublishedUdp,
}

const KINDS: [Kind; 13] = [
    Kind::Wake,
    Kind::Trap,
    Kind::TcpListener,
    Kind::UdpListener,
    Kind::Door,
    Kind::Dial,
    Kind::StreamInside,
    Kind::StreamOutside,
    Kind::FlowInside,
    Kind::FlowOutside,
    Kind::Echo,
    Kind::PublishedTcp,
    Kind::PublishedUdp,
];

/// The number of an entry. A later entry in the same place has another one, so an event that was
/// on its way when the entry went is not taken for the later one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slot {
    index: u32,
    generation: u32,
}

impl Slot {
    /// For what there is one of.
    pub const ONLY: Slot = Slot {
        index: 0,
        generation: 0,
    };

    /// What epoll keeps with a descriptor.
    pub fn event(self, kind: Kind) -> EventData {
        let kind = (kind as u64) << 56;
        EventData::new_u64(kind | u64::from(self.generation) << 32 | u64::from(self.index))
    }

    /// And gives back.
    pub fn of_event(data: EventData) -> Option<(Kind, Slot)> {
        let data = data.u64();
        let kind = KINDS.get((data >> 56) as usize)?;
        let slot = Slot {
            index: data as u32,
            generation: (data >> 32) as u32 & GENERATIONS,
        };
        Some((*kind, slot))
    }
}

const GENERATIONS: u32 = 0x00ff_ffff;

/// Entries, and the places of those that went.
#[derive(Debug)]
pub struct Slots<T> {
    places: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Slots {
            places: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T> Slots<T> {
    pub fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    pub fn insert(&mut self, entry: T) -> Slot {
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push((0, None));
            (self.places.len() - 1) as u32
        });
        let (generation, place) = &mut self.places[index as usize];
        *place = Some(entry);
        Slot {
            index,
            generation: *generation,
        }
    }

    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        let (generation, entry) = self.places.get_mut(slot.index as usize)?;
        entry.as_mut().filter(|_| *generation == slot.generation)
    }

    pub fn remove(&mut self, slot: Slot) -> Option<T> {
        let (generation, entry) = self.places.get_mut(slot.index as usize)?;
        if *generation != slot.generation {
            return None;
        }
        let entry = entry.take()?;
        *generation = (*generation + 1) & GENERATIONS;
        self.free.push(slot.index);
        Some(entry)
    }

    pub fn iter(&self) -> impl Iterator<Item = (Slot, &T)> {
        self.places
            .iter()
            .enumerate()
            .filter_map(|(index, (generation, entry))| {
                let slot = Slot {
                    index: index as u32,
                    generation: *generation,
                };
                entry.as_ref().map(|entry| (slot, entry))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_is_used_again_is_another_entry() {
        let mut slots = Slots::default();
        let first = slots.insert('a');
        assert_eq!(slots.remove(first), Some('a'));
        let second = slots.insert('b');
        assert!(slots.get_mut(first).is_none());
        assert_eq!(slots.remove(first), None);
        assert_eq!(slots.get_mut(second), Some(&mut 'b'));
        let event = second.event(Kind::PublishedUdp);
        assert_eq!(Slot::of_event(event), Some((Kind::PublishedUdp, second)));
    }
}
