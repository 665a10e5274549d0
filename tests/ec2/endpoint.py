"""moto as an endpoint, mended where it is kinder than EC2 or lacks what we call.

Tags given to RegisterImage and CopyImage stick, StartSnapshot knows a client token again, a snapshot is pending until it
is completed and for one look longer, cannot be completed twice, its blocks and their sum are checked, an AMI stands on
the snapshot that it was registered from, and EnableImageDeprecation exists. Prints the port that it listens on.
"""

import base64
import ctypes
import hashlib
import json
import signal

from moto.core.responses import ActionResult
from moto.ebs.models import EBSBackend
from moto.ebs.responses import EBSResponse
from moto.ec2.responses.amis import AmisResponse
from moto.ec2.responses.elastic_block_store import ElasticBlockStore
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

# Dies with the test that started it.
ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def tags_of(response, kind):
    given = {}
    for specification in response._get_param("TagSpecifications", []):
        if specification.get("ResourceType") == kind:
            given.update({tag["Key"]: tag["Value"] for tag in specification.get("Tags", [])})
    return given


def register_image(self):
    self.error_on_dryrun()
    image = self.ec2_backend.register_image(self._get_param("Name"), self._get_param("Description", ""))
    image.add_tags(tags_of(self, "image"))
    image.boot_mode = self._get_param("BootMode")
    image.root_device_name = self._get_param("RootDeviceName")
    for device in self._get_param("BlockDeviceMappings", []):
        chosen = self.ec2_backend.snapshots[device["Ebs"]["SnapshotId"]]
        self.ec2_backend.snapshots.pop(image.ebs_snapshot.id, None)
        image.ebs_snapshot = chosen
        chosen.from_ami = image.id
    return ActionResult({"ImageId": image.id})


def copy_image(self):
    self.error_on_dryrun()
    image = self.ec2_backend.copy_image(
        self._get_param("SourceImageId"),
        self._get_param("SourceRegion"),
        self._get_param("Name"),
        self._get_param("Description"),
    )
    image.add_tags(tags_of(self, "image"))
    image.ebs_snapshot.add_tags(tags_of(self, "snapshot"))
    return ActionResult({"ImageId": image.id})


def enable_image_deprecation(self):
    image = self.ec2_backend.describe_images(ami_ids=[self._get_param("ImageId")])[0]
    image.deprecation_time = self._get_param("DeprecateAt")
    return ActionResult({"Return": True})


AmisResponse.register_image = register_image
AmisResponse.copy_image = copy_image
AmisResponse.enable_image_deprecation = enable_image_deprecation

plain_start, plain_complete = EBSBackend.start_snapshot, EBSBackend.complete_snapshot
plain_describe = ElasticBlockStore.describe_snapshots
tokens = {}
# How often each snapshot was looked at since it was completed.
looks = {}


def start_snapshot(self):
    token = self._get_param("ClientToken")
    known = tokens.get((self.region, token)) if token else None
    if known is None:
        snapshot = plain_start(self.ebs_backend, self._get_param("VolumeSize"), self._get_param("Tags"), self._get_param("Description"))
        ec2 = self.ebs_backend.ec2_backend
        ec2.volumes.pop(ec2.snapshots[snapshot.snapshot_id].volume.id, None)
        ec2.snapshots[snapshot.snapshot_id].status = "pending"
        known = tokens[(self.region, token)] = snapshot.snapshot_id
    snapshot = self.ebs_backend.snapshots[known]
    return ActionResult(
        {
            "SnapshotId": snapshot.snapshot_id,
            "OwnerId": snapshot.account_id,
            "Status": snapshot.status,
            "StartTime": snapshot.start_time,
            "VolumeSize": snapshot.volume_size,
            "BlockSize": 524288,
            "Tags": snapshot.tags,
            "Description": snapshot.description,
        }
    )


def complete_snapshot(self):
    snapshot = self.ebs_backend.snapshots[self._get_param("SnapshotId")]
    if snapshot.snapshot_id in looks:
        refusal = json.dumps({"Message": "the snapshot is completed already", "Reason": "INVALID_SNAPSHOT_ID"})
        return 400, {"status": 400, "x-amzn-ErrorType": "ValidationException"}, refusal
    total = hashlib.sha256()
    for index in sorted(snapshot.blocks):
        block = snapshot.blocks[index]
        digest = hashlib.sha256(block.block_data).digest()
        assert base64.b64encode(digest).decode() == block.checksum, f"the checksum of block {index}"
        total.update(digest)
    assert self._get_param("Checksum") == base64.b64encode(total.digest()).decode(), "the checksum of the snapshot"
    assert int(self._get_param("ChangedBlocksCount")) == len(snapshot.blocks), "the number of blocks"
    looks[snapshot.snapshot_id] = 0
    return ActionResult({"Status": plain_complete(self.ebs_backend, snapshot.snapshot_id)})


def describe_snapshots(self):
    for id, snapshot in self.ec2_backend.snapshots.items():
        if id in looks:
            looks[id] += 1
            if looks[id] > 1:
                snapshot.status = "completed"
    return plain_describe(self)


ElasticBlockStore.describe_snapshots = describe_snapshots
EBSResponse.start_snapshot = start_snapshot
EBSResponse.complete_snapshot = complete_snapshot

server = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=True)
print(server.server_port, flush=True)
server.serve_forever()
