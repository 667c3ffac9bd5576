//! What to scale: rolling update, recreate, and scaling in the middle of a rollout, with Kubernetes' arithmetic.

use super::{Rollout, revision};
use crate::plan::Plan;
use crate::view::*;
use crate::world::{BY_CONTROLLER, World};

impl Rollout<'_> {
    /// Whether the wanted number changed since the sets were last scaled.
    pub(super) fn is_scaling(&self) -> bool {
        let want = self.want().to_string();
        let active = self.sets.iter().filter(|it| it.replicas > 0);
        active.filter_map(|it| annotation(&it.view.metadata, revision::DESIRED)).any(|it| it != want)
    }

    /// How many replicas the new set may have now, which has `replicas` (`NewRSNewReplicas`).
    pub(super) fn new_replicas(&self, replicas: i32) -> i32 {
        let want = self.want();
        if self.recreates() {
            return want;
        }
        let room = want + self.margins().0 - self.total();
        if room <= 0 { replicas } else { replicas + room.min(want - replicas) }
    }

    /// The rolling update: the new set up as far as the surge allows, or else the old ones down as far as there are
    /// enough available pods.
    pub(super) fn roll(&mut self, world: &World, plan: &mut Plan) {
        let existed = self.new.is_some();
        self.stamp(true, world, plan);
        if !existed {
            return;
        }
        let before = self.total();
        if let Some(at) = self.new {
            let replicas = self.sets[at].replicas;
            let want = self.want();
            let next = if replicas > want { want } else { self.new_replicas(replicas) };
            self.scale(at, next, plan);
            if self.total() != before {
                return;
            }
        }
        self.scale_old_down(plan);
        if self.total() == before && self.is_complete() {
            self.clean_up(plan);
        }
    }

    fn scale_old_down(&mut self, plan: &mut Plan) {
        let old: Vec<usize> = self.old().collect();
        if old.iter().all(|at| self.sets[*at].replicas == 0) {
            return;
        }
        let least = self.want() - self.margins().1;
        let new_unavailable = self.new.map_or(0, |at| self.sets[at].replicas - self.sets[at].available());
        let most = self.total() - least - new_unavailable;
        if most <= 0 {
            return;
        }
        // First those that serve nobody: a rollout must not be stuck behind broken old pods.
        let mut targets: Vec<i32> = self.sets.iter().map(|it| it.replicas).collect();
        let mut done = 0;
        for at in &old {
            let set = &self.sets[*at];
            let unhealthy = set.replicas - set.available();
            if set.replicas > 0 && unhealthy > 0 {
                let down = unhealthy.min(most - done);
                targets[*at] -= down;
                done += down;
            }
        }
        let available: i32 = self.sets.iter().map(super::Set::available).sum();
        let mut spare = (available - least).max(0);
        for at in &old {
            let down = targets[*at].min(spare).max(0);
            targets[*at] -= down;
            spare -= down;
        }
        for at in old {
            if targets[at] != self.sets[at].replicas {
                self.scale(at, targets[at], plan);
            }
        }
    }

    /// Recreate: the old sets to nothing; when their last pod is gone, the new one up.
    pub(super) fn recreate(&mut self, world: &World, plan: &mut Plan) {
        self.stamp(false, world, plan);
        let active: Vec<usize> = self.old().filter(|at| self.sets[*at].replicas > 0).collect();
        if !active.is_empty() {
            for at in active {
                self.scale(at, 0, plan);
            }
            return;
        }
        let alive = self.old().any(|at| {
            let pods = world.pods.by_index(BY_CONTROLLER, uid_of(&self.sets[at].view.metadata));
            pods.iter().any(|it| !it.is_terminated())
        });
        if alive {
            return;
        }
        match self.new {
            None => self.stamp(true, world, plan),
            Some(at) => {
                self.scale(at, self.want(), plan);
                if self.is_complete() {
                    self.clean_up(plan);
                }
            }
        }
    }

    /// The wanted number changed, perhaps in the middle of a rollout: each set gets its part (proportional scaling).
    pub(super) fn scale_proportionally(&mut self, plan: &mut Plan) {
        let want = self.want();
        let active: Vec<usize> = (0..self.sets.len()).filter(|at| self.sets[*at].replicas > 0).collect();
        let only = match active.as_slice() {
            [] => self.new.or_else(|| self.old().last()),
            [one] => Some(*one),
            _ => None,
        };
        if let Some(at) = only {
            return self.scale(at, want, plan);
        }
        if self.new.is_some_and(|at| self.is_saturated(at)) {
            for at in self.old().filter(|at| active.contains(at)).collect::<Vec<_>>() {
                self.scale(at, 0, plan);
            }
            return;
        }
        if self.recreates() {
            return;
        }
        let allowed = if want > 0 { want + self.margins().0 } else { 0 };
        let add = allowed - self.total();
        let mut order = active;
        // The largest first; among equals the newest when growing and the oldest when shrinking.
        order.sort_by_key(|at| {
            let age = i64::try_from(*at).unwrap_or(i64::MAX);
            (-self.sets[*at].replicas, if add > 0 { -age } else { age })
        });
        let mut added = 0;
        let mut targets: Vec<(usize, i32)> = Vec::new();
        for at in order {
            let part = if add == 0 { 0 } else { self.proportion(at, add, added) };
            targets.push((at, self.sets[at].replicas + part));
            added += part;
        }
        if let Some((_, first)) = targets.first_mut() {
            *first = (*first + add - added).max(0);
        }
        for (at, replicas) in targets {
            self.scale(at, replicas, plan);
        }
    }

    fn is_saturated(&self, at: usize) -> bool {
        let (set, want) = (&self.sets[at], self.want());
        let desired = annotation(&set.view.metadata, revision::DESIRED).and_then(|it| it.parse::<i32>().ok());
        set.replicas == want && desired == Some(want) && set.available() == want
    }

    fn proportion(&self, at: usize, add: i32, added: i32) -> i32 {
        let set = &self.sets[at];
        if set.replicas == 0 || add == added {
            return 0;
        }
        let want = self.want();
        let fraction = if want == 0 {
            -set.replicas
        } else {
            let noted = annotation(&set.view.metadata, revision::MAX).and_then(|it| it.parse::<i32>().ok());
            let before = noted.or(self.deployment.status.replicas).filter(|it| *it > 0).unwrap_or(want);
            let size = f64::from(set.replicas) * f64::from(want + self.margins().0) / f64::from(before);
            // Replica counts are small integers: the cast cannot lose anything.
            size.round() as i32 - set.replicas
        };
        let left = add - added;
        if add > 0 { fraction.min(left) } else { fraction.max(left) }
    }
}
